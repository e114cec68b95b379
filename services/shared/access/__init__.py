"""Who may call what: keys, roles, scopes, and the audit of what was changed."""
