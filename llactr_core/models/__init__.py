"""The backbones: embedded features in, a logit out; `registry.build_backbone` makes one by its name."""
