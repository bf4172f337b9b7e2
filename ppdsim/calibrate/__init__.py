"""From raw measurements to a profile: import, fit, cross-validate, anchor."""
