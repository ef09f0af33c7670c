/* Records what the processes of a run do to the files below a folder, in order, for tests/powercut/disk.py to tell what a
 * power cut would leave of them. Preloaded; one log for all processes, appended record by record, whole.
 *
 *   POWERCUT_ROOT   the folder (an absolute path, without links)
 *   POWERCUT_LOG    the log; without it nothing is recorded, and flushes take their time all the same
 *   POWERCUT_MS     how long each flush takes besides, in milliseconds (a slow disk); that of a write that waits, too
 *   POWERCUT_FULL   as long as this file is there everything that would change the folder, or flush it, fails with EROFS
 *
 * A change is logged before it is done, a flush after it: so a change that a flush in the log comes behind was covered by
 * it, and what one process does because another has flushed stands behind that flush. A file is known by its inode.
 *
 * A record: kind (u8), 3 bytes of nothing, length of path (u32), of second path or data (u32), inode (u64), offset (u64).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { CREATE = 'c', WRITE = 'w', TRUNCATE = 't', FLUSH = 'f', RENAME = 'r', UNLINK = 'u', MKDIR = 'd', RMDIR = 'x',
       LINK = 'l', FLUSH_FOLDER = 'F' };

struct header { uint8_t kind; uint8_t none[3]; uint32_t path, data; uint32_t none2; uint64_t inode, offset; };

static const char *root, *full, *log_path;
static size_t root_length;
static uint64_t log_inode;
static int log_fd = -1;
static long flush_ms;

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static ssize_t raw_writev(int fd, const struct iovec *parts, int count)
{
    REAL(writev);
    return real(fd, parts, count);
}

static void open_log(void)
{
    int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    struct stat status;
    int fd = real(log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    /* High up, out of the way of programs that expect their first descriptors to be low. */
    log_fd = fcntl(fd, F_DUPFD_CLOEXEC, 700);
    close(fd);
    if (log_fd < 0 || fstat(log_fd, &status))
        abort();
    log_inode = status.st_ino;
}

/* A process that was forked may close all that it has inherited. */
static void keep_log_open(void)
{
    struct stat status;
    if (fstat(log_fd, &status) || (uint64_t)status.st_ino != log_inode)
        open_log();
}

/* A process that gives itself a title writes over its environment. */
static const char *kept(const char *name) { return getenv(name) ? strdup(getenv(name)) : NULL; }

__attribute__((constructor)) static void begin(void)
{
    log_path = kept("POWERCUT_LOG");
    root = kept("POWERCUT_ROOT");
    full = kept("POWERCUT_FULL");
    flush_ms = getenv("POWERCUT_MS") ? atol(getenv("POWERCUT_MS")) : 0;
    if (!root)
        return;
    root_length = strlen(root);
    if (log_path)
        open_log();
}

static int below(const char *path)
{
    return root && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

/* The absolute path of a name, which need not exist: its folder is resolved, not the last part. */
static int absolute(int folder, const char *name, char *out)
{
    char whole[PATH_MAX * 2], dir[PATH_MAX];
    if (!root || !name)
        return 0;
    if (name[0] == '/') {
        snprintf(whole, sizeof whole, "%s", name);
    } else {
        char base[PATH_MAX], link[64];
        ssize_t length;
        if (folder == AT_FDCWD) {
            if (!getcwd(base, sizeof base))
                return 0;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
            if ((length = readlink(link, base, sizeof base - 1)) < 0)
                return 0;
            base[length] = 0;
        }
        snprintf(whole, sizeof whole, "%s/%s", base, name);
    }
    char *slash = strrchr(whole, '/');
    if (!slash[1]) {  /* a folder's name with a slash behind it */
        *slash = 0;
        slash = strrchr(whole, '/');
    }
    const char *last = slash + 1;
    *slash = 0;
    if (!realpath(*whole ? whole : "/", dir))
        return 0;
    snprintf(out, PATH_MAX, "%s/%s", strcmp(dir, "/") ? dir : "", last);
    return below(out);
}

static int inode_of(int fd, uint64_t *inode)
{
    char link[64], path[PATH_MAX];
    struct stat status;
    if (!root)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    if (!below(path) || fstat(fd, &status) || !(S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)))
        return 0;
    *inode = status.st_ino;
    return 1;
}

static void record(int kind, const char *path, const struct iovec *data, int count, uint64_t length, uint64_t inode,
                   uint64_t offset)
{
    struct iovec parts[64 + 2];
    int saved = errno;
    if (!log_path)
        return;
    struct header header = { .kind = kind, .path = path ? strlen(path) : 0, .data = length, .inode = inode,
                             .offset = offset };
    keep_log_open();
    parts[0] = (struct iovec){ &header, sizeof header };
    parts[1] = (struct iovec){ (void *)path, header.path };
    for (int i = 0; i < count; i++)
        parts[i + 2] = data[i];
    if (raw_writev(log_fd, parts, count + 2) != (ssize_t)(sizeof header + header.path + length))
        abort();
    errno = saved;
}

static void record2(int kind, const char *path, const char *second, uint64_t inode)
{
    struct iovec data = { (void *)second, strlen(second) };
    record(kind, path, &data, 1, data.iov_len, inode, 0);
}

/* More buffers than fit into one record: as one. */
static void record_write(uint64_t inode, const struct iovec *parts, int count, uint64_t offset)
{
    for (int i = 0; i < count; i += 64) {
        int some = count - i < 64 ? count - i : 64;
        uint64_t length = 0;
        for (int j = 0; j < some; j++)
            length += parts[i + j].iov_len;
        record(WRITE, NULL, parts + i, some, length, inode, offset);
        offset += length;
    }
}

static int is_full(void)
{
    return full && root && !access(full, F_OK);
}

#define REFUSED(result) do { if (is_full()) { errno = EROFS; return result; } } while (0)

static int opened(int folder, const char *name, int flags, mode_t mode, int (*real)(int, const char *, int, ...))
{
    char path[PATH_MAX];
    struct stat status;
    if (!(flags & (O_CREAT | O_TRUNC | O_WRONLY | O_RDWR)) || (flags & O_TMPFILE) == O_TMPFILE
        || !absolute(folder, name, path))
        return real(folder, name, flags, mode);
    REFUSED(-1);
    int is_there = !fstatat(AT_FDCWD, path, &status, 0);
    int fd = real(folder, name, flags, mode);
    if (fd >= 0 && !fstat(fd, &status) && S_ISREG(status.st_mode)) {
        if (!is_there)
            record(CREATE, path, NULL, 0, 0, status.st_ino, 0);
        else if (flags & O_TRUNC)
            record(TRUNCATE, NULL, NULL, 0, 0, status.st_ino, 0);
    }
    return fd;
}

#define MODE(flags, last) mode_t mode = 0; if ((flags) & (O_CREAT | O_TMPFILE)) { va_list list; va_start(list, last); \
    mode = va_arg(list, mode_t); va_end(list); }
#define REAL_OPENAT ((int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, "openat"))

int open(const char *path, int flags, ...) { MODE(flags, flags) return opened(AT_FDCWD, path, flags, mode, REAL_OPENAT); }
int open64(const char *path, int flags, ...) { MODE(flags, flags) return opened(AT_FDCWD, path, flags, mode, REAL_OPENAT); }
int openat(int at, const char *path, int flags, ...) { MODE(flags, flags) return opened(at, path, flags, mode, REAL_OPENAT); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags, flags) return opened(at, path, flags, mode, REAL_OPENAT); }

static uint64_t place(int fd)
{
    struct stat status;
    if (fcntl(fd, F_GETFL) & O_APPEND)
        return fstat(fd, &status) ? 0 : status.st_size;
    return lseek(fd, 0, SEEK_CUR);
}

static void take_time(void)
{
    struct timespec time = { flush_ms / 1000, flush_ms % 1000 * 1000000 };
    if (flush_ms)
        nanosleep(&time, NULL);
}

static void flush_if_direct(int fd, uint64_t inode)
{
    if (fcntl(fd, F_GETFL) & (O_DSYNC | O_SYNC)) {
        take_time();
        record(FLUSH, NULL, NULL, 0, 0, inode, 0);
    }
}

#define BEFORE(fd, parts, count, offset) uint64_t inode; int ours = inode_of(fd, &inode); if (ours) { REFUSED(-1); \
    record_write(inode, parts, count, offset); }
#define AFTER(fd) if (ours) flush_if_direct(fd, inode); return done

ssize_t write(int fd, const void *data, size_t length)
{
    REAL(write);
    struct iovec part = { (void *)data, length };
    BEFORE(fd, &part, 1, place(fd))
    ssize_t done = real(fd, data, length);
    AFTER(fd);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    REAL(writev);
    BEFORE(fd, parts, count, place(fd))
    ssize_t done = real(fd, parts, count);
    AFTER(fd);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset)
{
    REAL(pwrite64);
    struct iovec part = { (void *)data, length };
    BEFORE(fd, &part, 1, offset)
    ssize_t done = real(fd, data, length, offset);
    AFTER(fd);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return pwrite64(fd, data, length, offset); }

ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off64_t offset, int flags)
{
    REAL(pwritev64v2);
    BEFORE(fd, parts, count, offset)
    ssize_t done = real(fd, parts, count, offset, flags);
    AFTER(fd);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
    REAL(pwritev64);
    BEFORE(fd, parts, count, offset)
    ssize_t done = real(fd, parts, count, offset);
    AFTER(fd);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) { return pwritev64(fd, parts, count, offset); }
ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t offset, int flags)
{
    return pwritev64v2(fd, parts, count, offset, flags);
}

int ftruncate64(int fd, off64_t length)
{
    REAL(ftruncate64);
    uint64_t inode;
    if (inode_of(fd, &inode)) {
        REFUSED(-1);
        record(TRUNCATE, NULL, NULL, 0, 0, inode, length);
    }
    return real(fd, length);
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

static void flushed(int fd, int done)
{
    uint64_t inode;
    struct stat status;
    if (done || !inode_of(fd, &inode) || fstat(fd, &status))
        return;
    take_time();
    if (S_ISDIR(status.st_mode)) {
        char link[64], path[PATH_MAX];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, path, sizeof path - 1);
        path[length < 0 ? 0 : length] = 0;
        record(FLUSH_FOLDER, path, NULL, 0, 0, inode, 0);
    } else {
        record(FLUSH, NULL, NULL, 0, 0, inode, 0);
    }
}

static int is_refused(int fd)
{
    uint64_t inode;
    return is_full() && inode_of(fd, &inode);
}

#define FLUSHING(name) int name(int fd) { REAL(name); if (is_refused(fd)) { errno = EROFS; return -1; } \
    int done = real(fd); flushed(fd, done); return done; }

FLUSHING(fsync)
FLUSHING(fdatasync)

int fchmodat(int folder, const char *name, mode_t mode, int flags)
{
    REAL(fchmodat);
    char path[PATH_MAX];
    if (absolute(folder, name, path) && !access(path, F_OK))
        REFUSED(-1);
    return real(folder, name, mode, flags);
}

int chmod(const char *path, mode_t mode) { return fchmodat(AT_FDCWD, path, mode, 0); }

static int renamed(int from, const char *old, int to, const char *new)
{
    REAL(renameat);
    char first[PATH_MAX], second[PATH_MAX];
    struct stat status;
    if (absolute(from, old, first) && absolute(to, new, second) && !fstatat(AT_FDCWD, first, &status, AT_SYMLINK_NOFOLLOW)) {
        REFUSED(-1);
        record2(RENAME, first, second, status.st_ino);
    }
    return real(from, old, to, new);
}

int rename(const char *old, const char *new) { return renamed(AT_FDCWD, old, AT_FDCWD, new); }
int renameat(int from, const char *old, int to, const char *new) { return renamed(from, old, to, new); }

int linkat(int from, const char *old, int to, const char *new, int flags)
{
    REAL(linkat);
    char first[PATH_MAX], second[PATH_MAX];
    struct stat status;
    if (absolute(from, old, first) && absolute(to, new, second) && !fstatat(AT_FDCWD, first, &status, 0)) {
        REFUSED(-1);
        record2(LINK, first, second, status.st_ino);
    }
    return real(from, old, to, new, flags);
}

int link(const char *old, const char *new) { return linkat(AT_FDCWD, old, AT_FDCWD, new, 0); }

int unlinkat(int folder, const char *name, int flags)
{
    REAL(unlinkat);
    char path[PATH_MAX];
    if (absolute(folder, name, path) && !access(path, F_OK)) {
        REFUSED(-1);
        record(flags & AT_REMOVEDIR ? RMDIR : UNLINK, path, NULL, 0, 0, 0, 0);
    }
    return real(folder, name, flags);
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int folder, const char *name, mode_t mode)
{
    REAL(mkdirat);
    char path[PATH_MAX];
    if (absolute(folder, name, path) && access(path, F_OK)) {
        REFUSED(-1);
        record(MKDIR, path, NULL, 0, 0, 0, 0);
    }
    return real(folder, name, mode);
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }
