/* What would be left if the power failed now: a library for LD_PRELOAD that keeps, beside a folder, what of it is durable.
 *
 *   POWERLOSS_ROOT    the folder to watch
 *   POWERLOSS_SHADOW  an absent or empty folder on the same disk
 *
 * The model is the least that POSIX promises: an octet is durable after fsync or fdatasync of its file, a name after fsync of
 * its folder, and nothing else ever is. (Real file systems often keep more; a program that is right here is right there.) The
 * one mercy: a rename is one step, durable on both sides as soon as either folder is synced.
 *
 *   SHADOW/obj/N      the durable content of a file; written only by fsync and fdatasync
 *   SHADOW/dir/N/     the durable names of a folder: a hard link to obj/N for a file, a symbolic link "N" for a subfolder
 *   SHADOW/dir/1/     the root
 *
 * Files and folders are known by device and inode and get a new N each time they are created. Names that changed since the
 * last fsync of their folder wait in a list. The process may be killed at any instruction: what the shadow then holds is
 * still a state that a power failure at that moment could have left, because a call returns only after the shadow has it.
 *
 * Not watched, and so never durable: writes through mmap and raw system calls. Whoever relies on them sees losses, never a
 * false pass. The real fsync is not called: the machine does not lose power, only the program is killed.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* The C library's own functions. */
#define REAL(type, name, args) \
  static type(*name##_real) args; \
  static type(*name##_libc(void)) args { \
    if (!name##_real) *(void **)&name##_real = dlsym(RTLD_NEXT, #name); \
    return name##_real; \
  }
#define LIBC(name) name##_libc()

REAL(int, openat, (int, const char *, int, ...))
REAL(ssize_t, write, (int, const void *, size_t))
REAL(ssize_t, pwrite, (int, const void *, size_t, off_t))
REAL(ssize_t, writev, (int, const struct iovec *, int))
REAL(ssize_t, pwritev, (int, const struct iovec *, int, off_t))
REAL(ssize_t, pwritev2, (int, const struct iovec *, int, off_t, int))
REAL(int, ftruncate, (int, off_t))
REAL(int, fallocate, (int, int, off_t, off_t))
REAL(ssize_t, copy_file_range, (int, off_t *, int, off_t *, size_t, unsigned))
REAL(ssize_t, sendfile, (int, int, off_t *, size_t))
REAL(ssize_t, splice, (int, off_t *, int, off_t *, size_t, unsigned))
REAL(int, fsync, (int))
REAL(int, renameat2, (int, const char *, int, const char *, unsigned))
REAL(int, linkat, (int, const char *, int, const char *, int))
REAL(int, unlinkat, (int, const char *, int))
REAL(int, mkdirat, (int, const char *, mode_t))

#define RANGES 256
#define BUCKETS 4096

typedef uint64_t id;

struct object { /* a file or folder that exists */
  struct object *next;
  dev_t dev;
  ino_t ino;
  id n;
  int folder;
  int ranges; /* written since the last sync */
  struct { off_t from, to; } range[];
};

struct change { /* of a name, not durable yet */
  struct change *next;
  id from_folder; /* 0: no old name */
  id to_folder;   /* 0: no new name */
  id target;
  int target_is_folder;
  char *from, *to;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct object *objects[BUCKETS];
static struct change *changes, **last_change = &changes;
static char shadow[PATH_MAX - 600];
static id next_n = 1;
static int watching;

static void broken(const char *what) {
  dprintf(2, "powerloss: %s: %s\n", what, strerror(errno));
  abort();
}

static void *memory(void *p) {
  if (!p) broken("memory");
  return p;
}

/* --- objects ------------------------------------------------------------------------------------------------------ */

static struct object **slot(const struct stat *st) {
  struct object **at = &objects[(st->st_ino ^ st->st_dev) % BUCKETS];
  while (*at && ((*at)->ino != st->st_ino || (*at)->dev != st->st_dev)) at = &(*at)->next;
  return at;
}

static struct object *known(const struct stat *st) { return *slot(st); }

static void forget(const struct stat *st) {
  struct object **at = slot(st), *gone = *at;
  if (!gone) return;
  *at = gone->next;
  free(gone);
}

static void object_path(char *path, const char *kind, id n) { snprintf(path, PATH_MAX, "%s/%s/%llu", shadow, kind, (unsigned long long)n); }

/* A file or folder that was just created: whatever had its inode before is gone. */
static struct object *created(const struct stat *st) {
  forget(st);
  struct object *o;
  int folder = S_ISDIR(st->st_mode);
  o = memory(calloc(1, sizeof *o + (folder ? 0 : RANGES * sizeof o->range[0])));
  o->dev = st->st_dev, o->ino = st->st_ino, o->n = next_n++, o->folder = folder;
  struct object **at = slot(st);
  *at = o;
  char path[PATH_MAX];
  object_path(path, folder ? "dir" : "obj", o->n);
  if (folder) {
    if (LIBC(mkdirat)(AT_FDCWD, path, 0755)) broken(path);
  } else {
    int fd = LIBC(openat)(AT_FDCWD, path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, st->st_mode & 0777);
    if (fd < 0) broken(path);
    close(fd);
  }
  return o;
}

static void written(struct object *o, off_t from, off_t to) {
  if (o->ranges) {
    int last = o->ranges - 1;
    if (o->range[last].to == from) {
      o->range[last].to = to;
      return;
    }
  }
  if (o->ranges == RANGES) { /* too scattered: one range around all of them */
    for (int i = 1; i < RANGES; i++) {
      if (o->range[i].from < o->range[0].from) o->range[0].from = o->range[i].from;
      if (o->range[i].to > o->range[0].to) o->range[0].to = o->range[i].to;
    }
    o->ranges = 1;
  }
  o->range[o->ranges].from = from;
  o->range[o->ranges].to = to;
  o->ranges++;
}

static void copy(int from, int to, off_t at, off_t end) {
  static char buffer[1 << 18]; /* below the lock */
  while (at < end) {
    size_t want = end - at < (off_t)sizeof buffer ? (size_t)(end - at) : sizeof buffer;
    ssize_t got = pread(from, buffer, want, at);
    if (got < 0) broken("pread");
    if (got == 0) return;
    for (ssize_t done = 0; done < got;) {
      ssize_t n = LIBC(pwrite)(to, buffer + done, got - done, at + done);
      if (n < 0) broken("pwrite");
      done += n;
    }
    at += got;
  }
}

/* The content of the open file is durable from now on. */
static void make_durable(int fd, struct object *o, const struct stat *st) {
  char path[PATH_MAX], self[64];
  snprintf(self, sizeof self, "/proc/self/fd/%d", fd); /* fd may be write-only */
  int from = LIBC(openat)(AT_FDCWD, self, O_RDONLY | O_CLOEXEC);
  if (from < 0) broken(self);
  object_path(path, "obj", o->n);
  int to = LIBC(openat)(AT_FDCWD, path, O_WRONLY | O_CLOEXEC);
  if (to < 0) broken(path);
  for (int i = 0; i < o->ranges; i++) copy(from, to, o->range[i].from, o->range[i].to < st->st_size ? o->range[i].to : st->st_size);
  if (LIBC(ftruncate)(to, st->st_size)) broken("ftruncate");
  fchmod(to, st->st_mode & 0777);
  o->ranges = 0;
  close(from);
  close(to);
}

/* --- names -------------------------------------------------------------------------------------------------------- */

static void name_path(char *path, id folder, const char *name) {
  snprintf(path, PATH_MAX, "%s/dir/%llu/%s", shadow, (unsigned long long)folder, name);
}

static void set_name(id folder, const char *name, id target, int is_folder) {
  char path[PATH_MAX], fresh[PATH_MAX], object[PATH_MAX];
  name_path(path, folder, name);
  snprintf(fresh, sizeof fresh, "%s/fresh", shadow);
  LIBC(unlinkat)(AT_FDCWD, fresh, 0);
  if (is_folder) {
    snprintf(object, sizeof object, "%llu", (unsigned long long)target);
    if (symlink(object, fresh)) broken(fresh);
  } else {
    object_path(object, "obj", target);
    if (LIBC(linkat)(AT_FDCWD, object, AT_FDCWD, fresh, 0)) broken(object);
  }
  if (LIBC(renameat2)(AT_FDCWD, fresh, AT_FDCWD, path, 0)) broken(path);
}

static void unset_name(id folder, const char *name) {
  char path[PATH_MAX];
  name_path(path, folder, name);
  LIBC(unlinkat)(AT_FDCWD, path, 0); /* it may never have been durable */
}

static void change(id from_folder, const char *from, id to_folder, const char *to, id target, int is_folder) {
  struct change *c = memory(calloc(1, sizeof *c));
  c->from_folder = from_folder, c->to_folder = to_folder, c->target = target, c->target_is_folder = is_folder;
  if (from) c->from = memory(strdup(from));
  if (to) c->to = memory(strdup(to));
  *last_change = c;
  last_change = &c->next;
}

static int concerns(const struct change *c, id folder, const char *name) {
  return (c->from_folder == folder && !strcmp(c->from, name)) || (c->to_folder == folder && !strcmp(c->to, name));
}

static struct change *take(struct change **at) {
  struct change *c = *at;
  *at = c->next;
  if (last_change == &c->next) last_change = at;
  return c;
}

static void done(struct change *c) {
  free(c->from);
  free(c->to);
  free(c);
}

/* What a change supersedes in folders that were not synced: older changes of a name that it sets or clears. */
static void supersede(const struct change *c, struct change *until) {
  for (struct change **at = &changes; *at && *at != until;) {
    if ((c->from && concerns(*at, c->from_folder, c->from)) || (c->to && concerns(*at, c->to_folder, c->to)))
      done(take(at));
    else
      at = &(*at)->next;
  }
}

/* The names in a folder are durable from now on. */
static void names_durable(id folder) {
  for (struct change **at = &changes; *at;) {
    if ((*at)->from_folder != folder && (*at)->to_folder != folder) {
      at = &(*at)->next;
      continue;
    }
    struct change *c = take(at);
    /* New name first: a rename that is cut in two leaves both names, never none. */
    if (c->to) set_name(c->to_folder, c->to, c->target, c->target_is_folder);
    if (c->from) unset_name(c->from_folder, c->from);
    if (c->from && c->to) {
      supersede(c, *at);
      at = &changes; /* the list before this point may have changed */
    }
    done(c);
  }
}

/* The watched folder that a path is in, and its last component; 0: not watched. */
static id parent(int at, const char *path, const char **name) {
  const char *slash = strrchr(path, '/');
  char folder[PATH_MAX] = ".";
  *name = slash ? slash + 1 : path;
  if (slash == path) strcpy(folder, "/");
  else if (slash) {
    if ((size_t)(slash - path) >= sizeof folder) return 0;
    memcpy(folder, path, slash - path);
    folder[slash - path] = 0;
  }
  struct stat st;
  if (fstatat(at, folder, &st, 0)) return 0;
  struct object *o = known(&st);
  return o && o->folder ? o->n : 0;
}

/* --- what the program calls --------------------------------------------------------------------------------------- */

#define ENTER() \
  do { pthread_mutex_lock(&lock); } while (0)
#define LEAVE() \
  do { int e = errno; pthread_mutex_unlock(&lock); errno = e; } while (0)

/* O_TMPFILE has O_DIRECTORY's bit in it. */
static int makes_file(int flags) { return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE; }

static int open_watched(int at, const char *path, int flags, mode_t mode) {
  if (!watching || !(makes_file(flags) || flags & O_TRUNC)) return LIBC(openat)(at, path, flags, mode);
  ENTER();
  struct stat before, st;
  int tmpfile = !(flags & O_CREAT) && makes_file(flags);
  int existed = !tmpfile && !fstatat(at, path, &before, 0);
  int fd = LIBC(openat)(at, path, flags, mode);
  const char *name;
  if (fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode)) {
    struct object *o = known(&st);
    id folder = parent(at, path, &name);
    if (!existed && (folder || tmpfile)) {
      o = created(&st);
      if (!tmpfile) change(0, NULL, folder, name, o->n, 0);
    } else if (o && existed && flags & O_TRUNC)
      written(o, 0, before.st_size);
  }
  LEAVE();
  return fd;
}

#define MODE(flags, mode) \
  if (makes_file(flags)) { va_list list; va_start(list, flags); mode = va_arg(list, mode_t); va_end(list); }

int open(const char *path, int flags, ...) { mode_t mode = 0; MODE(flags, mode) return open_watched(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { mode_t mode = 0; MODE(flags, mode) return open_watched(AT_FDCWD, path, flags | O_LARGEFILE, mode); }
int openat(int at, const char *path, int flags, ...) { mode_t mode = 0; MODE(flags, mode) return open_watched(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { mode_t mode = 0; MODE(flags, mode) return open_watched(at, path, flags | O_LARGEFILE, mode); }
int creat(const char *path, mode_t mode) { return open_watched(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return open_watched(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC | O_LARGEFILE, mode); }

/* n octets were written at `at`, or just before the file's position if that is negative. */
static void wrote(int fd, off_t at, ssize_t n) {
  struct stat st;
  if (!watching || n <= 0) return;
  int e = errno;
  if (!fstat(fd, &st) && S_ISREG(st.st_mode)) {
    pthread_mutex_lock(&lock);
    struct object *o = known(&st);
    if (o) {
      if (at < 0) at = lseek(fd, 0, SEEK_CUR) - n;
      written(o, at, at + n);
      if (fcntl(fd, F_GETFL) & O_DSYNC) make_durable(fd, o, &st); /* O_SYNC includes it */
    }
    pthread_mutex_unlock(&lock);
  }
  errno = e;
}

ssize_t write(int fd, const void *p, size_t n) { ssize_t r = LIBC(write)(fd, p, n); wrote(fd, -1, r); return r; }
ssize_t pwrite(int fd, const void *p, size_t n, off_t at) { ssize_t r = LIBC(pwrite)(fd, p, n, at); wrote(fd, at, r); return r; }
ssize_t pwrite64(int fd, const void *p, size_t n, off_t at) { return pwrite(fd, p, n, at); }
ssize_t writev(int fd, const struct iovec *v, int c) { ssize_t r = LIBC(writev)(fd, v, c); wrote(fd, -1, r); return r; }
ssize_t pwritev(int fd, const struct iovec *v, int c, off_t at) { ssize_t r = LIBC(pwritev)(fd, v, c, at); wrote(fd, at, r); return r; }
ssize_t pwritev64(int fd, const struct iovec *v, int c, off_t at) { return pwritev(fd, v, c, at); }
ssize_t pwritev2(int fd, const struct iovec *v, int c, off_t at, int f) { ssize_t r = LIBC(pwritev2)(fd, v, c, at, f); wrote(fd, at, r); return r; }
ssize_t pwritev64v2(int fd, const struct iovec *v, int c, off_t at, int f) { return pwritev2(fd, v, c, at, f); }

ssize_t copy_file_range(int in, off_t *from, int out, off_t *to, size_t n, unsigned f) {
  off_t at = to ? *to : -1;
  ssize_t r = LIBC(copy_file_range)(in, from, out, to, n, f);
  wrote(out, at, r);
  return r;
}
ssize_t sendfile(int out, int in, off_t *from, size_t n) { ssize_t r = LIBC(sendfile)(out, in, from, n); wrote(out, -1, r); return r; }
ssize_t sendfile64(int out, int in, off_t *from, size_t n) { return sendfile(out, in, from, n); }
ssize_t splice(int in, off_t *from, int out, off_t *to, size_t n, unsigned f) {
  off_t at = to ? *to : -1;
  ssize_t r = LIBC(splice)(in, from, out, to, n, f);
  wrote(out, at, r);
  return r;
}

int ftruncate(int fd, off_t size) {
  struct stat st;
  ENTER();
  int before = watching && !fstat(fd, &st) && S_ISREG(st.st_mode);
  int r = LIBC(ftruncate)(fd, size);
  struct object *o = before && !r ? known(&st) : NULL;
  if (o) written(o, size < st.st_size ? size : st.st_size, size < st.st_size ? st.st_size : size);
  LEAVE();
  return r;
}
int ftruncate64(int fd, off_t size) { return ftruncate(fd, size); }
int truncate(const char *path, off_t size) {
  int fd = open_watched(AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
  if (fd < 0) return -1;
  int r = ftruncate(fd, size);
  close(fd);
  return r;
}
int truncate64(const char *path, off_t size) { return truncate(path, size); }
int fallocate(int fd, int mode, off_t at, off_t n) { int r = LIBC(fallocate)(fd, mode, at, n); if (!r) wrote(fd, at, n); return r; }
int fallocate64(int fd, int mode, off_t at, off_t n) { return fallocate(fd, mode, at, n); }
int posix_fallocate(int fd, off_t at, off_t n) { return fallocate(fd, 0, at, n) ? errno : 0; }
int posix_fallocate64(int fd, off_t at, off_t n) { return posix_fallocate(fd, at, n); }

int fsync(int fd) {
  struct stat st;
  if (!watching || fstat(fd, &st)) return LIBC(fsync)(fd);
  ENTER();
  struct object *o = known(&st);
  if (o && o->folder) names_durable(o->n);
  else if (o) make_durable(fd, o, &st);
  LEAVE();
  return 0;
}
int fdatasync(int fd) { return fsync(fd); }

int mkdirat(int at, const char *path, mode_t mode) {
  if (!watching) return LIBC(mkdirat)(at, path, mode);
  ENTER();
  const char *name;
  struct stat st;
  int r = LIBC(mkdirat)(at, path, mode);
  id folder = r ? 0 : parent(at, path, &name);
  if (folder && !fstatat(at, path, &st, 0)) change(0, NULL, folder, name, created(&st)->n, 1);
  LEAVE();
  return r;
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

/* A name is gone; so is the inode if that was its last one. */
static void last_name(const struct stat *st) {
  if (S_ISDIR(st->st_mode) || st->st_nlink == 1) forget(st);
}

int unlinkat(int at, const char *path, int flags) {
  if (!watching) return LIBC(unlinkat)(at, path, flags);
  ENTER();
  const char *name;
  struct stat st;
  id folder = parent(at, path, &name);
  int there = !fstatat(at, path, &st, AT_SYMLINK_NOFOLLOW);
  int r = LIBC(unlinkat)(at, path, flags);
  if (!r && there) {
    if (folder) change(folder, name, 0, NULL, 0, 0);
    last_name(&st);
  }
  LEAVE();
  return r;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
int remove(const char *path) {
  struct stat st;
  return lstat(path, &st) ? -1 : unlinkat(AT_FDCWD, path, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0);
}

int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
  if (!watching) return LIBC(renameat2)(from_at, from, to_at, to, flags);
  if (flags & RENAME_EXCHANGE) { errno = EINVAL; return -1; } /* nobody needs it yet */
  ENTER();
  const char *from_name, *to_name;
  struct stat st, replaced;
  id from_folder = parent(from_at, from, &from_name), to_folder = parent(to_at, to, &to_name);
  int is = !fstatat(from_at, from, &st, AT_SYMLINK_NOFOLLOW), was = !fstatat(to_at, to, &replaced, AT_SYMLINK_NOFOLLOW);
  int r = LIBC(renameat2)(from_at, from, to_at, to, flags);
  int same = is && was && st.st_ino == replaced.st_ino && st.st_dev == replaced.st_dev; /* then nothing was done */
  if (!r && is && !same) {
    if (was) last_name(&replaced);
    struct object *o = known(&st);
    if (!o && to_folder) o = created(&st); /* from outside: its content is not durable here */
    if (o && (from_folder || to_folder))
      change(from_folder, from_folder ? from_name : NULL, to_folder, to_folder ? to_name : NULL, o->n, o->folder);
  }
  LEAVE();
  return r;
}
int renameat(int from_at, const char *from, int to_at, const char *to) { return renameat2(from_at, from, to_at, to, 0); }
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

int linkat(int from_at, const char *from, int to_at, const char *to, int flags) {
  if (!watching) return LIBC(linkat)(from_at, from, to_at, to, flags);
  ENTER();
  const char *name;
  struct stat st;
  int r = LIBC(linkat)(from_at, from, to_at, to, flags);
  id folder = r ? 0 : parent(to_at, to, &name);
  if (folder && !fstatat(to_at, to, &st, AT_SYMLINK_NOFOLLOW)) {
    struct object *o = known(&st);
    if (!o) o = created(&st);
    change(0, NULL, folder, name, o->n, 0);
  }
  LEAVE();
  return r;
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

/* --- start -------------------------------------------------------------------------------------------------------- */

/* All that is there at the start is durable. */
static void scan(const char *path, id folder) {
  DIR *d = opendir(path);
  if (!d) broken(path);
  for (struct dirent *e; (e = readdir(d));) {
    char inner[PATH_MAX];
    struct stat st;
    if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
    if (snprintf(inner, sizeof inner, "%s/%s", path, e->d_name) >= (int)sizeof inner || lstat(inner, &st)) broken(path);
    if (S_ISDIR(st.st_mode)) {
      struct object *o = created(&st);
      set_name(folder, e->d_name, o->n, 1);
      scan(inner, o->n);
    } else if (S_ISREG(st.st_mode)) {
      struct object *o = known(&st); /* by another name */
      if (!o) {
        o = created(&st);
        int fd = LIBC(openat)(AT_FDCWD, inner, O_RDONLY | O_CLOEXEC, 0);
        if (fd < 0) broken(inner);
        written(o, 0, st.st_size);
        make_durable(fd, o, &st);
        close(fd);
      }
      set_name(folder, e->d_name, o->n, 0);
    }
  }
  closedir(d);
}

__attribute__((constructor)) static void start(void) {
  const char *root = getenv("POWERLOSS_ROOT"), *beside = getenv("POWERLOSS_SHADOW");
  if (!root || !beside) return;
  char path[PATH_MAX];
  struct stat st;
  if (snprintf(shadow, sizeof shadow, "%s", beside) >= (int)sizeof shadow) broken("a long path");
  LIBC(mkdirat)(AT_FDCWD, shadow, 0755);
  for (int i = 0; i < 2; i++) {
    snprintf(path, sizeof path, "%s/%s", shadow, i ? "dir" : "obj");
    if (LIBC(mkdirat)(AT_FDCWD, path, 0755)) broken(path);
  }
  if (stat(root, &st)) broken(root);
  scan(root, created(&st)->n);
  watching = 1;
}
