"""`kdharness bench`: what the harness costs, measured beside a plain loop written the way the field writes it."""
