"""From measured cells to curves: fits, cross-validation, drift, anchors."""
