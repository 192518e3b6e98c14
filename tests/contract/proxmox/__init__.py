"""What every Proxmox must do for us, asked through the port: the simulator's two faces, and a fake nobody here wrote.

`world.py` opens them, `conftest.py` hands them to the tests, `fakepve.py` says what that one does not model, and why.
"""
