"""From a measured profile to the profile of an unmeasured machine, model or link."""
