/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "calls.h"

#include "ring.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* A file in memory, empty or with @n bytes of @content. */
static int file(const unsigned char *content, size_t n)
{
	int fd = memfd_create("other", MFD_CLOEXEC);

	CHECK(fd >= 0);
	if (content)
		CHECK_EQ(pwrite(fd, content, n, 0), n);
	return fd;
}

/* What a call has put into @fd, and what it said; @fd is done with then. */
static ssize_t from_file(int fd, ssize_t said, unsigned char *other)
{
	if (said > 0)
		CHECK_EQ(pread(fd, other, (size_t)said, 0), said);
	close(fd);
	return said;
}

static ssize_t or_errno(ssize_t said)
{
	return said < 0 ? -errno : said;
}

static ssize_t by_write(unsigned char *at, size_t n, unsigned char *other)
{
	int fd = file(NULL, 0);

	return from_file(fd, or_errno(write(fd, at, n)), other);
}

static ssize_t by_read(unsigned char *at, size_t n, unsigned char *other)
{
	int fd = file(other, n);
	ssize_t said = or_errno(read(fd, at, n));

	close(fd);
	return said;
}

/* ------------------------------------------------------------------- a socket */

static ssize_t by_send(unsigned char *at, size_t n, unsigned char *other)
{
	ssize_t said;
	int ends[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	said = or_errno(send(ends[0], at, n, MSG_NOSIGNAL));
	/* all of it, or nothing */
	CHECK_EQ(or_errno(recv(ends[1], other, n, MSG_DONTWAIT)),
		 said < 0 ? -EAGAIN : said);
	close(ends[0]);
	close(ends[1]);
	return said;
}

static ssize_t by_recv(unsigned char *at, size_t n, unsigned char *other)
{
	ssize_t said;
	int ends[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	CHECK_EQ(send(ends[0], other, n, MSG_NOSIGNAL), n);
	said = or_errno(recv(ends[1], at, n, 0));
	if (said < 0) {			/* none of it has gone */
		unsigned char kept[2 * 4096];

		CHECK_EQ(recv(ends[1], kept, n, MSG_DONTWAIT), n);
		CHECK(!memcmp(kept, other, n));
	}
	close(ends[0]);
	close(ends[1]);
	return said;
}

/* -------------------------------------------------------------------- a futex */

/* The kernel compares the word with one that it is not: had it read that, it
 * says so. */
static ssize_t wait_for(unsigned char *at, int op, unsigned char *other)
{
	uint32_t value;

	memcpy(&value, other, sizeof(value));
	if (!syscall(SYS_futex, at, op, ~value, NULL, NULL, 0))
		return 0;
	return errno == EAGAIN ? (ssize_t)sizeof(value) : -errno;
}

static ssize_t by_futex(unsigned char *at, size_t n, unsigned char *other)
{
	(void)n;
	return wait_for(at, FUTEX_WAIT, other);
}

static ssize_t by_own_futex(unsigned char *at, size_t n, unsigned char *other)
{
	(void)n;
	return wait_for(at, FUTEX_WAIT_PRIVATE, other);
}

/* --------------------------------------------------------------------- a ring */

static ssize_t by_ring(unsigned char *at, size_t n, unsigned char *other, int op)
{
	const int into = op == IORING_OP_READ || op == IORING_OP_READ_FIXED;
	const struct io_uring_sqe request = {
		.opcode = (__u8)op,
		.fd = into ? file(other, n) : file(NULL, 0),
		.addr = (uintptr_t)at,
		.len = (uint32_t)n,
	};

	return from_file(request.fd, ring_do(&request), other);
}

static ssize_t by_ring_write(unsigned char *at, size_t n, unsigned char *other)
{
	return by_ring(at, n, other, IORING_OP_WRITE);
}

static ssize_t by_ring_read(unsigned char *at, size_t n, unsigned char *other)
{
	return by_ring(at, n, other, IORING_OP_READ);
}

static ssize_t by_fixed_write(unsigned char *at, size_t n, unsigned char *other)
{
	return by_ring(at, n, other, IORING_OP_WRITE_FIXED);
}

static ssize_t by_fixed_read(unsigned char *at, size_t n, unsigned char *other)
{
	return by_ring(at, n, other, IORING_OP_READ_FIXED);
}

/* --------------------------------------------------- pages, and not their bytes */

/* The pages go into the pipe as they are; whoever reads it gets the bytes. */
static ssize_t by_vmsplice(unsigned char *at, size_t n, unsigned char *other)
{
	struct iovec from = { at, n };
	ssize_t said;
	int fds[2];

	CHECK_EQ(pipe2(fds, O_CLOEXEC), 0);
	said = or_errno(vmsplice(fds[1], &from, 1, 0));
	if (said > 0)
		CHECK_EQ(read(fds[0], other, (size_t)said), said);
	close(fds[0]);
	close(fds[1]);
	return said;
}

static ssize_t by_readv(unsigned char *at, size_t n, unsigned char *other)
{
	struct iovec here = { other, n }, there = { at, n };

	return or_errno(process_vm_readv(getpid(), &here, 1, &there, 1, 0));
}

static ssize_t by_writev(unsigned char *at, size_t n, unsigned char *other)
{
	struct iovec here = { other, n }, there = { at, n };

	return or_errno(process_vm_writev(getpid(), &here, 1, &there, 1, 0));
}

/* What another process reads of this one: a child that has the memory, too, and
 * does not use that. @other is for both. */
static ssize_t by_other(unsigned char *at, size_t n, unsigned char *other)
{
	static ssize_t *said;
	pid_t parent = getpid(), child;
	int status;

	if (!said)
		said = mmap(NULL, sizeof(*said), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK((void *)said != MAP_FAILED);
	child = _Fork();
	CHECK(child >= 0);
	if (!child) {
		struct iovec here = { other, n }, there = { at, n };

		*said = or_errno(process_vm_readv(parent, &here, 1, &there, 1,
						  0));
		_exit(0);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
	return *said;
}

const struct call calls[] = {
	{ .name = "write", .run = by_write },
	{ .name = "read", .run = by_read, .into = 1 },
	{ .name = "send", .run = by_send, .whole = 1 },
	{ .name = "recv", .run = by_recv, .into = 1, .whole = 1 },
	{ .name = "futex", .run = by_futex, .word = 1 },
	{ .name = "futex, private", .run = by_own_futex, .word = 1 },
	{ .name = "io_uring write", .run = by_ring_write },
	{ .name = "io_uring read", .run = by_ring_read, .into = 1 },
	{ .name = "vmsplice", .run = by_vmsplice },
	{ .name = "process_vm_readv", .run = by_readv },
	{ .name = "process_vm_readv, another", .run = by_other },
	{ .name = "process_vm_writev", .run = by_writev, .into = 1 },
	{ .name = "io_uring write, fixed buffer", .run = by_fixed_write,
	  .fixed = 1 },
	{ .name = "io_uring read, fixed buffer", .run = by_fixed_read,
	  .into = 1, .fixed = 1 },
};
const size_t n_calls = sizeof(calls) / sizeof(calls[0]);
