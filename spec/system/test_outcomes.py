"""How a job can end, and what it leaves: verdict, document, results; and nothing else."""


def test_a_program_that_ends_well_is_finished_and_says_so_last(world):
    host = world.host()
    world.send("good", "print('hello')")
    assert host.answered("good")["event"] == "delivery.acknowledged"
    document = world.document("good")
    assert document["status"] == "finished" and document["time_finished"] >= document["time_started"]
    assert world.ours("good")["outcome"] == "succeeded" and world.ours("good")["state"] == "ended"
    assert world.output("good").startswith("hello\nmoonrunner: succeeded: ")
    assert world.messages() == []
