/* Fault points: counts every pass, and says which one fails. Empty in a release build. */
#include "base/fault.h"

#ifdef MOONRUNNER_FAULTS

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POINTS_MAX 256
#define NAME_MAX_SIZE 64

struct point {
    char name[NAME_MAX_SIZE];
    unsigned count, nth; /* fails when count reaches nth; 0 = not armed */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t environment_once = PTHREAD_ONCE_INIT;
static struct point points[POINTS_MAX];
static size_t n_points;

static struct point *find_or_add(const char *name)
{
    for (size_t i = 0; i < n_points; i++) {
        if (strcmp(points[i].name, name) == 0)
            return &points[i];
    }
    if (n_points == POINTS_MAX || strlen(name) >= NAME_MAX_SIZE) {
        fprintf(stderr, "fault: no room for the point %s\n", name);
        abort();
    }
    struct point *point = &points[n_points++];
    *point = (struct point){0};
    strcpy(point->name, name);
    return point;
}

/* MOONRUNNER_FAULT=archive.write:3,file.open:1; a point without a number fails at its first pass. */
static void read_environment(void)
{
    const char *text = getenv("MOONRUNNER_FAULT");
    char *copy = text ? strdup(text) : NULL;
    char *rest = copy;
    for (char *item; (item = strsep(&rest, ",")) != NULL;) {
        char *number = strchr(item, ':');
        if (number)
            *number++ = '\0';
        if (*item)
            find_or_add(item)->nth = number ? (unsigned)strtoul(number, NULL, 10) : 1;
    }
    free(copy);
}

static void enter(void)
{
    pthread_once(&environment_once, read_environment);
    pthread_mutex_lock(&lock);
}

bool fault_hit(const char *name)
{
    enter();
    struct point *point = find_or_add(name);
    bool hit = ++point->count == point->nth;
    if (hit)
        point->nth = 0;
    pthread_mutex_unlock(&lock);
    return hit;
}

void fault_arm(const char *name, unsigned nth)
{
    enter();
    struct point *point = find_or_add(name);
    point->nth = nth;
    point->count = 0;
    pthread_mutex_unlock(&lock);
}

void fault_reset(void)
{
    enter();
    n_points = 0;
    pthread_mutex_unlock(&lock);
}

unsigned fault_count(const char *name)
{
    enter();
    unsigned count = find_or_add(name)->count;
    pthread_mutex_unlock(&lock);
    return count;
}

char *fault_names(void)
{
    enter();
    char *names = malloc(n_points * (NAME_MAX_SIZE + 1) + 1);
    char *end = names;
    for (size_t i = 0; names && i < n_points; i++) {
        if (points[i].count > 0)
            end += sprintf(end, "%s%s", end == names ? "" : " ", points[i].name);
    }
    if (names)
        *end = '\0';
    pthread_mutex_unlock(&lock);
    return names;
}

#endif
