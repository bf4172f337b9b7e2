"""What SGLang, its router and mooncake need of a machine."""
