"""Proxmox VE: the port in Proxmox's own words, its adapter over proxmoxer, and the bulk observer of one cluster."""
