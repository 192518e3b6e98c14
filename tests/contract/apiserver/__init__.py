"""What `KubeApi` and `WatchSource` promise: one suite for the real kube-apiserver and for the in-memory one.

Where the two differ, the real one is right.
"""
