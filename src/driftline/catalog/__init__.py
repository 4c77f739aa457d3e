"""The catalog: what is declared, which runs there were, what they measured, which alarms stand, who was told."""
