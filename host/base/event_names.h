/* The closed list of log events: dotted, in the past tense. A new event is added here and nowhere else. */
#ifndef MOONRUNNER_BASE_EVENT_NAMES_H
#define MOONRUNNER_BASE_EVENT_NAMES_H

#define EVENT_NAMES(X)                                                                                       \
    X(EVENT_HOST_STARTED, "host.started")                                                                    \
    X(EVENT_HOST_STOPPED, "host.stopped")                                                                    \
    X(EVENT_HOST_FAILED, "host.failed")                                                                      \
    X(EVENT_SIGNAL_RECEIVED, "signal.received")                                                              \
    X(EVENT_CAPACITY_DETECTED, "capacity.detected")                                                          \
    X(EVENT_TASK_FAILED, "task.failed")                                                                      \
    X(EVENT_QUEUE_OPENED, "queue.opened")                                                                    \
    X(EVENT_QUEUE_GONE, "queue.gone")                                                                        \
    X(EVENT_QUEUE_FAILED, "queue.failed")                                                                    \
    X(EVENT_LOCK_BROKEN, "lock.broken")                                                                      \
    X(EVENT_DELIVERY_RECEIVED, "delivery.received")                                                          \
    X(EVENT_DELIVERY_ACKNOWLEDGED, "delivery.acknowledged")                                                  \
    X(EVENT_DELIVERY_RETURNED, "delivery.returned")                                                          \
    X(EVENT_DELIVERY_SET_ASIDE, "delivery.set_aside")                                                        \
    X(EVENT_DELIVERY_LOST, "delivery.lost")                                                                  \
    X(EVENT_JOB_REFUSED, "job.refused")                                                                      \
    X(EVENT_JOB_STARTED, "job.started")                                                                      \
    X(EVENT_JOB_FETCHED, "job.fetched")                                                                      \
    X(EVENT_JOB_PREPARED, "job.prepared")                                                                    \
    X(EVENT_JOB_SPAWNED, "job.spawned")                                                                      \
    X(EVENT_JOB_SAVED, "job.saved")                                                                          \
    X(EVENT_JOB_ENDED, "job.ended")                                                                          \
    X(EVENT_JOB_NOT_BOOKED, "job.not_booked")                                                                \
    X(EVENT_DOCUMENT_FAILED, "document.failed")                                                              \
    X(EVENT_POLICY_FAILED, "policy.failed")                                                                  \
    X(EVENT_SCRIPT_LOGGED, "script.logged")                                                                  \
    X(EVENT_RUN_CLEANED, "run.cleaned")                                                                      \
    X(EVENT_CLEANUP_FAILED, "cleanup.failed")

#endif
