"""The machine under the servers: its GPUs, processes and models, as far as it can be asked."""
