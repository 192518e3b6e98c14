"""Images: fetched once per digest, verified, unpacked, inspected, stored by digest, served by signed URL.

It knows no Kubernetes and no hypervisor.
"""
