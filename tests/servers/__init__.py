"""Servers that tests start on this machine, each with the contract of the service it stands for."""
