/* The host's children by number, and signals to them. */
#include "process/children.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static struct child **bucket_of(const struct children *children, pid_t pid)
{
    return (struct child **)&children->buckets[(unsigned)pid % CHILD_BUCKETS];
}

void children_add(struct children *children, struct child *child)
{
    struct child **bucket = bucket_of(children, child->pid);
    assert(!children_find(children, child->pid));
    child->next = *bucket;
    *bucket = child;
    children->strays += !child->main;
}

struct child *children_find(const struct children *children, pid_t pid)
{
    struct child *child = *bucket_of(children, pid);
    while (child && child->pid != pid)
        child = child->next;
    return child;
}

void children_remove(struct children *children, struct child *child)
{
    struct child **link = bucket_of(children, child->pid);
    while (*link != child)
        link = &(*link)->next;
    *link = child->next;
    children->strays -= !child->main;
}

void children_each_stray(const struct children *children, void (*fn)(struct child *, void *), void *arg)
{
    size_t left = children->strays;
    for (size_t i = 0; left > 0 && i < CHILD_BUCKETS; i++) {
        for (struct child *child = children->buckets[i]; child; child = child->next) {
            if (!child->main) {
                fn(child, arg);
                left--;
            }
        }
    }
}

void children_free_strays(struct children *children)
{
    for (size_t i = 0; i < CHILD_BUCKETS; i++) {
        for (struct child **link = &children->buckets[i], *child; (child = *link);) {
            if (child->main) {
                link = &child->next;
            } else {
                *link = child->next;
                free(child);
            }
        }
    }
    children->strays = 0;
}

/* A group goes as one: what is forked in it meanwhile gets the signal too. Its number is safe as long as the
 * child in it was not reaped. 1 would be everybody, 0 is a group outside of our namespace. */
void child_signal(pid_t pid, int signal, pid_t *previous)
{
    pid_t group = getpgid(pid);
    if (group > 1 && group != *previous && group != getpgrp() && getsid(pid) != getsid(0))
        kill(-(*previous = group), signal);
    kill(pid, signal);
}
