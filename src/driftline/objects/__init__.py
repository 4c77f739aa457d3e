"""Where bytes lie: objects by key, each whole or not there."""
