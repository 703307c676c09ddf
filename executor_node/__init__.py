"""The executor node service: runs attempts and keeps results until they are acknowledged."""
