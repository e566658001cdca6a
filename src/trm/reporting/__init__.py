"""Tables, figures and the report of finished runs: reads what they left behind, never runs a model."""
