"""What the benchmarks share: data, processes and their memory, and tables in Markdown."""
