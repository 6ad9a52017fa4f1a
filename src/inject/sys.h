/* SPDX-License-Identifier: MIT */
/*
 * Every system call of the library, each a small function that returns its
 * result or a negative errno. None touches errno's page more than libc does.
 */
#ifndef BEZOAR_INJECT_SYS_H
#define BEZOAR_INJECT_SYS_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Private anonymous memory, zeroed; NULL if there is none. */
void *bzi_sys_map(size_t len, int prot);
int bzi_sys_unmap(void *addr, size_t len);
/* Move the pages of [@from, @from + @len) to @to, over what is there. The
 * mapping stays behind, empty. */
int bzi_sys_move(void *from, void *to, size_t len);
int bzi_sys_protect(void *addr, size_t len, int prot);
int bzi_sys_advise(void *addr, size_t len, int advice);
int bzi_sys_lock(void *addr, size_t len);
/* Read own memory without being sent a signal: the bytes read, or -EFAULT. */
ssize_t bzi_sys_peek(void *dst, const void *src, size_t len);

int bzi_sys_userfaultfd(int flags);
int bzi_sys_ioctl(int fd, unsigned long request, void *arg);

int bzi_sys_open(const char *path, int flags);
void bzi_sys_close(int fd);
/* A second descriptor, out of the way of a program that counts its own. */
int bzi_sys_dup_high(int fd);
int bzi_sys_access(const char *path, int mode);
int bzi_sys_stat(int fd, struct stat *ret_stat);
ssize_t bzi_sys_read(int fd, void *dst, size_t len);
ssize_t bzi_sys_write(int fd, const void *src, size_t len);
ssize_t bzi_sys_pread(int fd, void *dst, size_t len, uint64_t offset);
ssize_t bzi_sys_pwrite(int fd, const void *src, size_t len, uint64_t offset);
int bzi_sys_truncate(int fd, uint64_t size);
/* One more than the highest descriptor that can be open. */
int bzi_sys_max_fd(void);

size_t bzi_sys_page_size(void);
uint64_t bzi_sys_now_ns(void);
void bzi_sys_nap(void);
void bzi_sys_block_signals(sigset_t *ret_old);
void bzi_sys_restore_signals(const sigset_t *old);

/*
 * Run @work(@arg) in a process of its own that shares this memory, and wait
 * for it. A signal that the kernel forces on who does the work (SIGBUS) is
 * sent to that process and goes nowhere. Signals are blocked. Returns what
 * @work returned.
 */
int bzi_sys_apart(int (*work)(void *arg), void *arg);

#endif
