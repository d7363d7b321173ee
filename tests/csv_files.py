"""CSV files for tests."""


def written(folder, text, name="table.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return path


def many(header, row, n=60):
    return "\n".join([header, *(row(k) for k in range(n))]) + "\n"
