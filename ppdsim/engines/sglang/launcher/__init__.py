"""Starting the engine's servers: what runs where (pure), the processes, their health, and taking all of them down."""
