"""`VMTemplate`: the image and its revision, the plan, the replicas, the report."""
