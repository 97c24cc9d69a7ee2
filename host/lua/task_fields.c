/* The log fields that a task carries, and inherits from the tasks above it (lua/task.h). */
#include <stdlib.h>
#include <string.h>

#include "lua/task_internal.h"

static void field_free(struct log_field *field)
{
    free((char *)field->name);
    if (field->kind == LOG_TEXT)
        free((char *)field->text);
}

static void *checked(void *memory)
{
    if (memory == NULL)
        engine_out_of_memory("a task's log fields were set");
    return memory;
}

static struct log_field field_copy(const struct log_field *field)
{
    struct log_field copy = *field;
    copy.name = checked(strdup(field->name));
    if (field->kind == LOG_TEXT) {
        copy.size = field->size == (size_t)-1 ? strlen(field->text) : field->size;
        copy.text = checked(strndup(field->text, copy.size));
        copy.size = strlen(copy.text);
    }
    return copy;
}

static struct log_field *field_find(struct log_field *fields, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(fields[i].name, name) == 0)
            return &fields[i];
    return NULL;
}

void task_set_fields(struct task *task, const struct log_field *fields, size_t n)
{
    task->fields = checked(realloc(task->fields, (task->n_fields + n + 1) * sizeof *fields));
    for (size_t i = 0; i < n; i++) {
        struct log_field copy = field_copy(&fields[i]);
        struct log_field *old = field_find(task->fields, task->n_fields, copy.name);
        if (old != NULL)
            field_free(old);
        else
            old = &task->fields[task->n_fields++];
        *old = copy;
    }
}

size_t task_fields(const struct task *task, struct log_field *out, size_t max)
{
    size_t n = task->parent != NULL ? task_fields(task->parent, out, max) : 0;
    for (size_t i = 0; i < task->n_fields; i++) {
        struct log_field *outer = field_find(out, n, task->fields[i].name);
        if (outer != NULL)
            *outer = task->fields[i];
        else if (n < max)
            out[n++] = task->fields[i];
    }
    return n;
}

void task_fields_free(struct task *task)
{
    for (size_t i = 0; i < task->n_fields; i++)
        field_free(&task->fields[i]);
    free(task->fields);
}
