"""What the Kubernetes manifests are made of; ``clusters/manifests.py`` puts it together."""
