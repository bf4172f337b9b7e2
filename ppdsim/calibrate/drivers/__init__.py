"""What the calibrator talks to: engines over HTTP, the KV transfer engine alone, and a stand-in for both."""
