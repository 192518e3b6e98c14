"""What fakepve 0.5.0 does not model, by test, and how it was seen: these tests run against our own two faces only."""

NOT_MODELLED = {
    "test_the_nodes_version_is_the_one_in_its_status": "its /nodes/{node}/status is made from the schema: no version",
    "test_tags_are_normalised_by_an_update": "it sorts tags but keeps their case",
    "test_deleting_an_unknown_setting_is_refused": "it takes any name in `delete`",
    "test_a_resize_is_seen_in_the_configuration": "it starts a task that changes nothing",
    "test_tasks_are_listed_newest_first": "within one second it lists oldest first",
    "test_a_task_that_nobody_started_is_not_found": "it answers 500 `unable to parse worker upid` instead of 400",
    "test_a_smaller_size_is_refused_in_the_task": "its resize checks nothing",
    "test_a_url_that_answers_nothing_is_refused": "it fetches nothing",
    "test_an_image_with_a_wrong_extension_is_refused": "its storage takes no import content, and says so first",
}
