"""Inspect (inspect-ai): run any task on a steered or monitored model, and take its logs back.

- `registry`: what Inspect finds through the entry point `inspect_ai`
- `provider`: the models `virtuelens/NAME`; `together`: samples that wait are run as one batch
- `choosing`: forced choices by log-probability, without a judge: solver and scorer
- `tasks`: the packs' behaviour items and public sets
- `logs`: a finished log as rows of behavioural evidence

Source: https://inspect.aisi.org.uk (UK AI Security Institute).
"""
