"""From a measured profile to the profile of a machine, a model or a link that nobody measured."""
