/* Hands items from any thread to one reading thread: a list under a lock. */
#include "base/mailbox.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/fault.h"

int mailbox_init(struct mailbox *box, void (*wake)(void *), void *arg, struct err *err)
{
    int sys = FAULT("base.mailbox") ? ENOMEM : pthread_mutex_init(&box->lock, NULL);
    if (sys != 0)
        return err_set(err, ERR_NO_MEMORY, "mailbox: %s", strerror(sys));
    box->first = NULL;
    box->last = &box->first;
    box->wake = wake;
    box->wake_arg = arg;
    box->closed = false;
    return 0;
}

bool mailbox_post(struct mailbox *box, struct mail *mail)
{
    pthread_mutex_lock(&box->lock);
    bool open = !box->closed;
    if (open) {
        bool was_empty = box->first == NULL;
        mail->next = NULL;
        *box->last = mail;
        box->last = &mail->next;
        /* Under the lock: after mailbox_close nobody is inside wake any more, so what it wakes may go away.
         */
        if (was_empty)
            box->wake(box->wake_arg);
    }
    pthread_mutex_unlock(&box->lock);
    return open;
}

size_t mailbox_drain(struct mailbox *box)
{
    pthread_mutex_lock(&box->lock);
    struct mail *mail = box->first;
    box->first = NULL;
    box->last = &box->first;
    pthread_mutex_unlock(&box->lock);
    size_t n = 0;
    while (mail) {
        struct mail *next = mail->next; /* deliver may free it */
        mail->deliver(mail);
        mail = next;
        n++;
    }
    return n;
}

void mailbox_close(struct mailbox *box)
{
    pthread_mutex_lock(&box->lock);
    box->closed = true;
    pthread_mutex_unlock(&box->lock);
}

void mailbox_fini(struct mailbox *box)
{
    assert(box->closed && box->first == NULL);
    pthread_mutex_destroy(&box->lock);
}
