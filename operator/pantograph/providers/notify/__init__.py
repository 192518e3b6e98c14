"""Telling others: Emby and Jellyfin which folders changed, webhooks and Telegram which runs went wrong.

It knows no Kubernetes and no engine. Secrets come as values or files and leave only in a request: no message, log,
repr or exception chain holds one, nor an address that was kept in a Secret.
"""
