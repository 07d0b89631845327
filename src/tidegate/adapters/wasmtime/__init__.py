"""HTML extraction inside WebAssembly."""
