/* Reads the folder of a bundle, loads its files and runs them once (lua/bundle.h). */
#include "lua/bundle.h"

#include <dirent.h>
#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/sha256.h"
#include "lua/budget.h"
#include "lua/sandbox.h"
#include "lua/source.h"

enum { MAX_FILES = 256, MAX_NAME = 96 };

struct bundle_file {
    char name[MAX_NAME]; /* without .lua */
    const char *folder;
};

struct bundle_files {
    struct bundle_file *file;
    size_t n;
};

/* --- which files -------------------------------------------------------------------------------------- */

static bool has_file(const struct bundle_files *files, const char *name)
{
    for (size_t i = 0; i < files->n; i++)
        if (strcmp(files->file[i].name, name) == 0)
            return true;
    return false;
}

static int add_file(struct bundle_files *files, const char *folder, const char *entry, struct err *err)
{
    struct bundle_file *file = &files->file[files->n];
    size_t length = strlen(entry);
    if (length < 5 || strcmp(entry + length - 4, ".lua") != 0 || entry[0] == '.')
        return 0;
    if (files->n == MAX_FILES || length - 4 >= sizeof file->name)
        return err_set(err, ERR_SCRIPT_INVALID,
                       "%s/%s: a bundle has at most %d files, with names of %d bytes", folder, entry,
                       MAX_FILES, MAX_NAME - 1);
    snprintf(file->name, sizeof file->name, "%.*s", (int)(length - 4), entry);
    if (!sandbox_module_name(file->name) || strchr(file->name, '.') != NULL)
        return err_set(err, ERR_SCRIPT_INVALID, "%s/%s: a script's name is letters, digits and _", folder,
                       entry);
    if (has_file(files, file->name))
        return 0; /* the folder's own counts, not the shipped one */
    file->folder = folder;
    files->n++;
    return 0;
}

static int list_folder(struct bundle_files *files, const char *folder, struct err *err)
{
    struct dirent *entry;
    int result = 0;
    DIR *dir = FAULT("bundle.list") ? (errno = EIO, NULL) : opendir(folder);
    if (dir == NULL)
        return err_set_file(err, errno, "%s", folder);
    while (result == 0 && (entry = readdir(dir)) != NULL)
        result = add_file(files, folder, entry->d_name, err);
    closedir(dir);
    return result;
}

static int by_name(const void *left, const void *right)
{
    return strcmp(((const struct bundle_file *)left)->name, ((const struct bundle_file *)right)->name);
}

/* --- loading ------------------------------------------------------------------------------------------ */

/* "scripts/handle_job.lua" for /etc/moonrunner/scripts and handle_job */
static void label_of(const struct bundle_file *file, char *out, size_t size)
{
    const char *base = strrchr(file->folder, '/');
    base = base != NULL && base[1] != '\0' ? base + 1 : file->folder;
    snprintf(out, size, "%s/%s.lua", base, file->name);
}

/* (chunks, environment) -> the same; chunks[name] = function with that environment */
static int load_file(lua_State *L, const struct bundle_file *file, struct buffer *text, struct sha256 *digest,
                     struct err *err)
{
    char path[4096], label[MAX_NAME + 260];
    int environment = lua_gettop(L), chunks = environment - 1;
    label_of(file, label, sizeof label);
    snprintf(path, sizeof path, "%s/%s.lua", file->folder, file->name);
    if (source_read(path, text, err) != 0 || source_load(L, text, label, err) != 0)
        return -1;
    char header[MAX_NAME + 32]; /* so that no two sets of files have the same bytes */
    int size = snprintf(header, sizeof header, "%s %zu\n", file->name, text->size);
    sha256_update(digest, header, (size_t)size);
    if (text->size > 0)
        sha256_update(digest, text->data, text->size);
    lua_pushvalue(L, environment);
    lua_setfenv(L, -2);
    lua_setfield(L, chunks, file->name);
    return 0;
}

/* (chunks, environment) -> the same, chunks filled */
static int load_files(lua_State *L, const struct bundle_files *files, char hash[65], struct err *err)
{
    unsigned char bytes[32];
    struct buffer text = BUFFER_EMPTY;
    struct sha256 *digest = FAULT("bundle.digest") ? NULL : sha256_create();
    if (digest == NULL)
        return err_set(err, ERR_NO_MEMORY, "out of memory while a bundle was loaded");
    int result = 0;
    for (size_t i = 0; i < files->n && result == 0; i++)
        result = load_file(L, &files->file[i], &text, digest, err);
    sha256_finish(digest, bytes);
    sha256_to_hex(bytes, hash);
    buffer_free(&text);
    return result;
}

/* --- running ------------------------------------------------------------------------------------------ */

/* require(name) -> value. Upvalues: chunks, values, the require behind */
static int bundle_require(lua_State *L)
{
    static char running; /* marks a file that is running */
    luaL_checkstring(L, 1);
    lua_settop(L, 1);
    lua_pushvalue(L, 1);
    lua_rawget(L, lua_upvalueindex(2));
    if (lua_touserdata(L, -1) == &running)
        return luaL_error(L, "require \"%s\": it requires itself, by way of others", lua_tostring(L, 1));
    if (!lua_isnil(L, -1))
        return 1;
    lua_pushvalue(L, 1);
    lua_rawget(L, lua_upvalueindex(1));
    if (lua_isnil(L, -1)) {
        lua_pushvalue(L, lua_upvalueindex(3));
        lua_pushvalue(L, 1);
        lua_call(L, 1, 1);
        return 1;
    }
    lua_pushvalue(L, 1);
    lua_pushlightuserdata(L, &running);
    lua_rawset(L, lua_upvalueindex(2));
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1); /* when it raises, the whole bundle is given up */
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushboolean(L, 1);
    }
    lua_pushvalue(L, 1);
    lua_pushvalue(L, -2);
    lua_rawset(L, lua_upvalueindex(2));
    return 1;
}

/* (chunks, environment) -> (chunks, environment, values, require) */
static void add_require(lua_State *L)
{
    int environment = lua_gettop(L);
    lua_newtable(L);
    lua_pushvalue(L, environment - 1);
    lua_pushvalue(L, environment + 1);
    lua_getfield(L, environment, "require");
    lua_pushcclosure(L, bundle_require, 3);
    lua_pushvalue(L, -1);
    lua_setfield(L, environment, "require");
}

/* (…, require) -> the same */
static int run_files(lua_State *L, struct budget *budget, const struct bundle_files *files, struct err *err)
{
    for (size_t i = 0; i < files->n; i++) {
        lua_pushvalue(L, -1);
        lua_pushstring(L, files->file[i].name);
        if (budget_call(budget, L, 1, 0, err) != 0) {
            err->code = ERR_SCRIPT_INVALID;
            err->retryable = false;
            return -1;
        }
    }
    return 0;
}

int bundle_open(lua_State *L, struct budget *budget, const char *folder, const char *shipped, char hash[65],
                struct err *err)
{
    struct bundle_files files = {.file = calloc(MAX_FILES + 1, sizeof *files.file)};
    int top = lua_gettop(L), result = -1;
    if (files.file == NULL)
        return err_set(err, ERR_NO_MEMORY, "out of memory while a bundle was loaded");
    if (list_folder(&files, folder, err) == 0 &&
        (shipped == NULL || list_folder(&files, shipped, err) == 0)) {
        qsort(files.file, files.n, sizeof *files.file, by_name);
        luaL_checkstack(L, 8, "a bundle");
        lua_newtable(L);
        sandbox_push_environment(L);
        result = load_files(L, &files, hash, err);
        if (result == 0) {
            add_require(L);
            result = run_files(L, budget, &files, err);
        }
    }
    free(files.file);
    if (result == 0) {
        lua_pushvalue(L, top + 3); /* the values */
        lua_replace(L, top + 1);
    }
    lua_settop(L, result == 0 ? top + 1 : top);
    return result;
}
