/* Bookings: all or nothing, never over the total, released in parts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "account/account.h"
#include "base/fault.h"

static struct account *new_account(uint32_t cores, uint64_t mem, uint64_t disk)
{
    struct err err;
    struct capacity capacity = {.total = {.cores = cores, .mem = mem, .disk = disk}, .why = "a test"};
    struct account *account = account_create(&capacity, &err);

    assert_non_null(account);
    return account;
}

static void assert_free(const struct account *account, uint32_t cores, uint64_t mem, uint64_t disk)
{
    struct amount total, have;

    account_read(account, &total, &have);
    assert_int_equal(have.cores, cores);
    assert_int_equal(have.mem, mem);
    assert_int_equal(have.disk, disk);
}

static int book(struct account *account, uint32_t cores, uint64_t mem, uint64_t disk, uint64_t *id,
                struct err *err)
{
    struct amount amount = {.cores = cores, .mem = mem, .disk = disk};

    return account_book(account, 7, &amount, NULL, 0, id, err);
}

static void a_booking_takes_what_it_names_and_gives_it_back(void **state)
{
    (void)state;
    struct err err;
    uint64_t id;
    struct account *account = new_account(4, 1000, 500);

    assert_int_equal(book(account, 3, 400, 500, &id, &err), 0);
    assert_free(account, 1, 600, 0);
    account_release(account, id, ACCOUNT_COMPUTE | ACCOUNT_DISK);
    assert_free(account, 4, 1000, 500);
    account_destroy(account);
}

static void what_does_not_fit_is_named_and_changes_nothing(void **state)
{
    (void)state;
    struct err err;
    uint64_t id = 99;
    struct account *account = new_account(4, 1000, 500);

    assert_int_equal(book(account, 5, 1, 1, &id, &err), -1);
    assert_int_equal(err.code, ERR_ACCOUNT_CORES);
    assert_string_equal(err.message, "cores: need 5, have 4");
    assert_int_equal(book(account, 4, 1001, 1, &id, &err), -1);
    assert_int_equal(err.code, ERR_ACCOUNT_MEMORY);
    assert_int_equal(book(account, 4, 1000, 501, &id, &err), -1);
    assert_int_equal(err.code, ERR_ACCOUNT_DISK);
    assert_int_equal(id, 99);
    assert_free(account, 4, 1000, 500);
    account_destroy(account);
}

static void the_largest_numbers_do_not_wrap_around(void **state)
{
    (void)state;
    struct err err;
    uint64_t id;
    struct account *account = new_account(UINT32_MAX, UINT64_MAX, UINT64_MAX);

    assert_int_equal(book(account, UINT32_MAX - 1, UINT64_MAX - 1, UINT64_MAX - 1, &id, &err), 0);
    assert_int_equal(book(account, 2, 0, 0, &id, &err), -1);
    assert_int_equal(book(account, 0, 2, 0, &id, &err), -1);
    assert_int_equal(book(account, 0, 0, UINT64_MAX, &id, &err), -1);
    assert_free(account, 1, 1, 1);
    account_destroy(account);
}

static void compute_and_disk_are_released_apart_in_any_order_and_twice(void **state)
{
    (void)state;
    struct err err;
    uint64_t first, second;
    struct account *account = new_account(4, 1000, 500);

    assert_int_equal(book(account, 2, 200, 100, &first, &err), 0);
    assert_int_equal(book(account, 2, 200, 100, &second, &err), 0);
    account_release(account, first, ACCOUNT_COMPUTE);
    assert_free(account, 2, 800, 300);
    account_release(account, first, ACCOUNT_COMPUTE);
    assert_free(account, 2, 800, 300);
    account_release(account, second, ACCOUNT_DISK);
    assert_free(account, 2, 800, 400);
    account_release(account, first, ACCOUNT_DISK);
    account_release(account, first, ACCOUNT_DISK | ACCOUNT_COMPUTE);
    account_release(account, 12345, ACCOUNT_DISK);
    assert_free(account, 2, 800, 500);
    account_release(account, second, ACCOUNT_COMPUTE);
    assert_free(account, 4, 1000, 500);
    account_destroy(account);
}

static void a_smaller_total_takes_nothing_away_but_gives_nothing_more(void **state)
{
    (void)state;
    struct err err;
    uint64_t id, other;
    struct account *account = new_account(4, 1000, 500);
    struct capacity smaller = {.total = {.cores = 2, .mem = 100, .disk = 50}};

    assert_int_equal(book(account, 3, 300, 100, &id, &err), 0);
    assert_int_equal(account_set_total(account, &smaller, &err), 0);
    assert_free(account, 0, 0, 0);
    assert_int_equal(book(account, 1, 0, 0, &other, &err), -1);
    account_release(account, id, ACCOUNT_COMPUTE | ACCOUNT_DISK);
    assert_free(account, 2, 100, 50);
    account_destroy(account);
}

static const struct gpu CARDS[] = {{.uuid = "card-a", .mem = 40}, {.uuid = "card-b", .mem = 40}};

static struct account *new_gpu_account(void)
{
    struct err err;
    struct capacity capacity = {.total = {.cores = 4}, .gpus = CARDS, .n_gpus = 2};

    return account_create(&capacity, &err);
}

static void a_whole_card_and_shares_of_it_exclude_each_other(void **state)
{
    (void)state;
    struct err err;
    uint64_t share_id, whole_id;
    struct amount none = {0};
    struct gpu_share share = {.uuid = "card-a", .mem = 25}, whole = {.uuid = "card-a"};
    struct account *account = new_gpu_account();

    assert_int_equal(account_book(account, 1, &none, &share, 1, &share_id, &err), 0);
    assert_int_equal(account_gpu_free(account, 0), 15);
    assert_int_equal(account_book(account, 1, &none, &whole, 1, &whole_id, &err), -1);
    assert_int_equal(err.code, ERR_ACCOUNT_GPUS);
    account_release(account, share_id, ACCOUNT_DISK);
    assert_int_equal(account_gpu_free(account, 0), 15);
    account_release(account, share_id, ACCOUNT_COMPUTE);
    assert_int_equal(account_book(account, 1, &none, &share, 1, &share_id, &err), 0);
    account_release(account, share_id, ACCOUNT_COMPUTE);
    assert_int_equal(account_gpu_free(account, 0), 40);
    assert_int_equal(account_book(account, 1, &none, &whole, 1, &whole_id, &err), 0);
    assert_int_equal(account_book(account, 1, &none, &share, 1, &share_id, &err), -1);
    assert_int_equal(account_gpu_free(account, 1), 40);
    account_destroy(account);
}

static void a_card_that_is_not_here_or_named_twice_is_refused(void **state)
{
    (void)state;
    struct err err;
    uint64_t id;
    struct amount none = {0};
    struct gpu_share unknown = {.uuid = "card-z"}, large = {.uuid = "card-a", .mem = 41};
    struct gpu_share twice[] = {{.uuid = "card-b", .mem = 1}, {.uuid = "card-b", .mem = 1}};
    struct account *account = new_gpu_account();

    assert_int_equal(account_book(account, 1, &none, &unknown, 1, &id, &err), -1);
    assert_int_equal(err.code, ERR_ACCOUNT_VALUE);
    assert_int_equal(account_book(account, 1, &none, &large, 1, &id, &err), -1);
    assert_int_equal(err.code, ERR_ACCOUNT_VALUE);
    assert_int_equal(account_book(account, 1, &none, twice, 2, &id, &err), -1);
    assert_int_equal(err.code, ERR_ACCOUNT_VALUE);
    assert_int_equal(account_gpu_free(account, 1), 40);
    account_destroy(account);
}

/* Random operations against a model that knows nothing of lists and parts but sums. */
enum { MOST = 64 };
struct model {
    struct amount total;
    struct {
        uint64_t id;
        struct amount held;
    } bookings[MOST];
    size_t n;
};

static struct amount model_free(const struct model *model)
{
    struct amount have = model->total;

    for (size_t i = 0; i < model->n; i++) {
        const struct amount *held = &model->bookings[i].held;
        have.cores = have.cores > held->cores ? have.cores - held->cores : 0;
        have.mem = have.mem > held->mem ? have.mem - held->mem : 0;
        have.disk = have.disk > held->disk ? have.disk - held->disk : 0;
    }
    return have;
}

static void model_release(struct model *model, size_t i, unsigned parts)
{
    if (parts & ACCOUNT_COMPUTE)
        model->bookings[i].held.cores = 0, model->bookings[i].held.mem = 0;
    if (parts & ACCOUNT_DISK)
        model->bookings[i].held.disk = 0;
}

static void random_step(struct account *account, struct model *model)
{
    struct err err;
    struct amount want = {
        .cores = (uint32_t)rand() % 6, .mem = (uint64_t)rand() % 700, .disk = (uint64_t)rand() % 300};
    struct amount have = model_free(model);
    uint64_t id;

    if (model->n && rand() % 2) {
        size_t i = (size_t)rand() % model->n;
        unsigned parts = 1 + (unsigned)rand() % 3;
        account_release(account, model->bookings[i].id, parts);
        model_release(model, i, parts);
    } else if (model->n < MOST) {
        bool fits = want.cores <= have.cores && want.mem <= have.mem && want.disk <= have.disk;
        assert_int_equal(account_book(account, 1, &want, NULL, 0, &id, &err), fits ? 0 : -1);
        if (fits) {
            model->bookings[model->n].id = id;
            model->bookings[model->n++].held = want;
        }
    }
}

static void random_operations_agree_with_a_naive_model(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 200; seed++) {
        struct model model = {.total = {.cores = 8, .mem = 2000, .disk = 1000}};
        struct account *account = new_account(8, 2000, 1000);
        srand(seed);
        for (int step = 0; step < 200; step++) {
            random_step(account, &model);
            struct amount have = model_free(&model);
            assert_free(account, have.cores, have.mem, have.disk);
        }
        account_destroy(account);
    }
}

static void sum_up(uint64_t booking, uint64_t owner, const struct amount *held, void *arg)
{
    struct amount *sum = arg;

    (void)booking;
    assert_int_equal(owner, 7);
    sum->cores += held->cores;
    sum->disk += held->disk;
}

static void each_booking_tells_what_it_still_holds(void **state)
{
    (void)state;
    struct err err;
    struct amount sum = {0};
    uint64_t id;
    struct account *account = new_account(4, 1000, 500);

    assert_int_equal(book(account, 2, 200, 100, &id, &err), 0);
    account_release(account, id, ACCOUNT_COMPUTE);
    assert_int_equal(book(account, 1, 200, 100, &id, &err), 0);
    account_each(account, sum_up, &sum);
    assert_int_equal(sum.cores, 1);
    assert_int_equal(sum.disk, 200);
    account_destroy(account);
}

#ifdef MOONRUNNER_FAULTS
static void without_memory_nothing_is_booked(void **state)
{
    (void)state;
    struct err err;
    uint64_t id;
    struct amount none = {0};
    struct gpu_share share = {.uuid = "card-a", .mem = 25};
    struct capacity capacity = {.total = {.cores = 4}, .gpus = CARDS, .n_gpus = 2};

    fault_arm("account.create", 1);
    assert_null(account_create(&capacity, &err));
    assert_int_equal(err.code, ERR_NO_MEMORY);
    fault_arm("account.capacity", 1);
    assert_null(account_create(&capacity, &err));
    struct account *account = new_gpu_account();
    fault_arm("account.grow", 1);
    assert_int_equal(account_book(account, 1, &none, &share, 1, &id, &err), -1);
    fault_arm("account.shares", 1);
    assert_int_equal(account_book(account, 1, &none, &share, 1, &id, &err), -1);
    assert_int_equal(err.code, ERR_NO_MEMORY);
    assert_int_equal(account_gpu_free(account, 0), 40);
    assert_int_equal(account_book(account, 1, &none, &share, 1, &id, &err), 0);
    account_destroy(account);
    fault_reset();
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_booking_takes_what_it_names_and_gives_it_back),
        cmocka_unit_test(what_does_not_fit_is_named_and_changes_nothing),
        cmocka_unit_test(the_largest_numbers_do_not_wrap_around),
        cmocka_unit_test(compute_and_disk_are_released_apart_in_any_order_and_twice),
        cmocka_unit_test(a_smaller_total_takes_nothing_away_but_gives_nothing_more),
        cmocka_unit_test(a_whole_card_and_shares_of_it_exclude_each_other),
        cmocka_unit_test(a_card_that_is_not_here_or_named_twice_is_refused),
        cmocka_unit_test(random_operations_agree_with_a_naive_model),
        cmocka_unit_test(each_booking_tells_what_it_still_holds),
#ifdef MOONRUNNER_FAULTS
        cmocka_unit_test(without_memory_nothing_is_booked),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
