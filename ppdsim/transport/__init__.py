"""What a hand-off from P to D costs, per arm and transport."""
