/* mailbox: order, nothing lost between threads, closing. */
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mailbox.h"

#define POSTERS 4
#define LETTERS 5000

struct letter {
    struct mail mail; /* first: a mail is its letter */
    int poster, number;
};

static struct {
    struct mailbox box;
    sem_t woken;
    int next[POSTERS];
    size_t delivered;
} world;

static void wake(void *arg)
{
    assert_ptr_equal(arg, &world);
    sem_post(&world.woken);
}

static void deliver(struct mail *mail)
{
    struct letter *letter = (struct letter *)mail;
    assert_int_equal(letter->number, world.next[letter->poster]++);
    world.delivered++;
    free(letter);
}

static struct letter *write_letter(int poster, int number)
{
    struct letter *letter = calloc(1, sizeof *letter);
    letter->mail.deliver = deliver;
    letter->poster = poster;
    letter->number = number;
    return letter;
}

static int setup(void **state)
{
    (void)state;
    struct err err;
    memset(&world, 0, sizeof world);
    sem_init(&world.woken, 0, 0);
    return mailbox_init(&world.box, wake, &world, &err);
}

static int teardown(void **state)
{
    (void)state;
    mailbox_close(&world.box);
    mailbox_drain(&world.box);
    mailbox_fini(&world.box);
    sem_destroy(&world.woken);
    return 0;
}

static void *post_all(void *arg)
{
    int poster = (int)(intptr_t)arg;
    for (int i = 0; i < LETTERS; i++)
        assert_true(mailbox_post(&world.box, &write_letter(poster, i)->mail));
    return NULL;
}

static void nothing_is_lost_and_each_posters_order_is_kept(void **state)
{
    (void)state;
    pthread_t threads[POSTERS];
    for (int i = 0; i < POSTERS; i++)
        pthread_create(&threads[i], NULL, post_all, (void *)(intptr_t)i);
    /* The reader sleeps whenever nobody woke it: a wake that is missing would hang here. */
    while (world.delivered < POSTERS * LETTERS) {
        sem_wait(&world.woken);
        mailbox_drain(&world.box);
    }
    for (int i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(world.delivered, POSTERS * LETTERS);
}

static void the_reader_is_woken_once_for_what_it_has_not_taken_yet(void **state)
{
    (void)state;
    int wakes;
    for (int i = 0; i < 3; i++)
        mailbox_post(&world.box, &write_letter(0, i)->mail);
    sem_getvalue(&world.woken, &wakes);
    assert_int_equal(wakes, 1);
    assert_int_equal(mailbox_drain(&world.box), 3);
    mailbox_post(&world.box, &write_letter(0, 3)->mail);
    sem_getvalue(&world.woken, &wakes);
    assert_int_equal(wakes, 2);
}

static void deliver_and_post(struct mail *mail)
{
    struct letter *letter = (struct letter *)mail;
    if (letter->number > 0) {
        struct letter *answer = write_letter(0, letter->number - 1);
        answer->mail.deliver = deliver_and_post;
        mailbox_post(&world.box, &answer->mail);
    }
    free(letter);
}

static void what_is_posted_while_delivering_waits_for_the_next_turn(void **state)
{
    (void)state;
    int wakes;
    struct letter *letter = write_letter(0, 2);
    letter->mail.deliver = deliver_and_post;
    mailbox_post(&world.box, &letter->mail);
    assert_int_equal(mailbox_drain(&world.box), 1);
    sem_getvalue(&world.woken, &wakes);
    assert_int_equal(wakes, 2); /* and the reader was woken again for it */
    assert_int_equal(mailbox_drain(&world.box), 1);
    assert_int_equal(mailbox_drain(&world.box), 1);
    assert_int_equal(mailbox_drain(&world.box), 0);
}

static void after_closing_a_mail_stays_the_posters_and_what_was_inside_is_delivered(void **state)
{
    (void)state;
    mailbox_post(&world.box, &write_letter(0, 0)->mail);
    mailbox_close(&world.box);
    struct letter *late = write_letter(0, 1);
    assert_false(mailbox_post(&world.box, &late->mail));
    free(late);
    assert_int_equal(mailbox_drain(&world.box), 1);
}

static void a_mailbox_that_can_not_be_made_says_so(void **state)
{
    (void)state;
    struct mailbox box;
    struct err err;
    fault_arm("base.mailbox", 1);
    assert_int_equal(mailbox_init(&box, wake, &world, &err), -1);
    assert_int_equal(err.code, ERR_NO_MEMORY);
    fault_reset();
}

#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_lost_and_each_posters_order_is_kept),
        TEST(the_reader_is_woken_once_for_what_it_has_not_taken_yet),
        TEST(what_is_posted_while_delivering_waits_for_the_next_turn),
        TEST(after_closing_a_mail_stays_the_posters_and_what_was_inside_is_delivered),
        cmocka_unit_test(a_mailbox_that_can_not_be_made_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
