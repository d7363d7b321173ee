"""Converters from models to graphs, one for each kind of model: `convert(model, example, opset)`."""
