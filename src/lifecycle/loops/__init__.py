"""Ways to walk memory with any rule, one per file."""
