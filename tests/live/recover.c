/* SPDX-License-Identifier: MIT */
/*
 * System calls whose buffer is lost: EFAULT or short, bez_recover(), again.
 * Every byte is right in the end, and nothing was signalled.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "live.h"
#include "ring.h"

#define PAGES 8

static size_t page, len;
static unsigned char *at, *mirror;

static void forbidden(int sig)
{
	(void)sig;
	_exit(99);
}

/* A region of PAGES pages with a mirror; pages 2, 3 and 6 are lost. One page
 * more behind it is in no region. */
static void begin(void)
{
	struct bez_source from;

	page = live_page();
	len = PAGES * page;
	signal(SIGBUS, forbidden);
	live_start(BEZ_START_NO_EARLY_KILL);
	at = live_pages(PAGES + 1);
	mirror = live_pages(PAGES);
	from = bez_source_mirror(mirror);
	live_region(at, len, &from, "buffer");
	live_poison(at + 2 * page);
	live_poison(at + 3 * page);
	live_poison(at + 6 * page);
}

static uint64_t replaced(void)
{
	return bez_outcome_count(BEZ_OUTCOME_REPLACED);
}

typedef ssize_t (*transfer_fn)(int fd, void *buf, size_t n);

/*
 * As a program would: what is left, again; after EFAULT with the buffer
 * recovered. Returns how often it had to be.
 */
static unsigned int all_of_it(transfer_fn transfer, int fd, unsigned char *buf,
			      size_t n)
{
	unsigned int times = 0, tries = 0;
	size_t done = 0;

	while (done < n) {
		ssize_t r = transfer(fd, buf + done, n - done);

		if (r > 0) {
			done += (size_t)r;
			tries = 0;
			continue;
		}
		CHECKF(r < 0 && errno == EFAULT, "%zd: %s", r,
		       strerror(errno));
		CHECKF(tries++ < 3, "EFAULT again and again at %zu", done);
		CHECK_EQ(bez_recover(buf + done, n - done), 0);
		times++;
	}
	return times;
}

static int file(void)
{
	char name[] = "/tmp/bezoar-recover-XXXXXX";
	int fd = mkstemp(name);

	CHECK(fd >= 0);
	unlink(name);
	return fd;
}

static void good(void)
{
	CHECK_EQ(live_wrong(at, len, 0), 0);
	CHECK_EQ(replaced(), 3);
}

/* ----------------------------------------------------- out of the buffer */

static ssize_t by_write(int fd, void *buf, size_t n)
{
	return write(fd, buf, n);
}

static ssize_t by_writev(int fd, void *buf, size_t n)
{
	struct iovec two[2] = { { buf, n / 2 },
				{ (char *)buf + n / 2, n - n / 2 } };

	return writev(fd, two, 2);
}

static void to_file(void)
{
	const transfer_fn *transfer = tap_data();
	unsigned char *copy;
	int fd = file();

	begin();
	CHECK(all_of_it(*transfer, fd, at + 3, len - 5) > 0);
	copy = live_pages(PAGES);
	memset(copy, 0, len);
	CHECK_EQ(pread(fd, copy, len, 0), len - 5);
	CHECK_EQ(memcmp(copy, mirror + 3, len - 5), 0);
	good();
}

static ssize_t by_send(int fd, void *buf, size_t n)
{
	return send(fd, buf, n, MSG_NOSIGNAL);
}

static int ends[2];

static void *receives(void *arg)
{
	unsigned char *to = arg;
	size_t done = 0;
	ssize_t r;

	while (done < len && (r = read(ends[1], to + done, len - done)) > 0)
		done += (size_t)r;
	return NULL;
}

static void to_socket(void)
{
	unsigned char *copy;
	pthread_t thread;

	begin();
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	copy = live_pages(PAGES);
	memset(copy, 0, len);
	CHECK_EQ(pthread_create(&thread, NULL, receives, copy), 0);
	CHECK(all_of_it(by_send, ends[0], at, len) > 0);
	shutdown(ends[0], SHUT_WR);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(memcmp(copy, mirror, len), 0);
	good();
}

/* -------------------------------------------------------- into the buffer */

static off_t position;

static ssize_t by_pread(int fd, void *buf, size_t n)
{
	ssize_t r = pread(fd, buf, n, position);

	if (r > 0)
		position += r;
	return r;
}

static ssize_t by_readv(int fd, void *buf, size_t n)
{
	struct iovec two[2] = { { buf, n / 3 },
				{ (char *)buf + n / 3, n - n / 3 } };

	return readv(fd, two, 2);
}

static void from_file(void)
{
	const transfer_fn *transfer = tap_data();
	unsigned char *other = live_pages(PAGES);
	int fd = file();

	begin();
	live_fill(other, len, 5);
	CHECK_EQ(write(fd, other, len), len);
	CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
	CHECK(all_of_it(*transfer, fd, at, len) > 0);
	CHECK_EQ(live_wrong(at, len, 5), 0);
	CHECK_EQ(replaced(), 3);
}

static void by_futex(void)
{
	uint32_t *word;
	uint32_t value;

	begin();
	word = (uint32_t *)(void *)(at + 2 * page + 8);
	memcpy(&value, mirror + 2 * page + 8, sizeof(value));
	CHECK_EQ(syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value + 1, NULL,
			 NULL, 0), -1);
	CHECK_EQ(errno, EFAULT);
	CHECK_EQ(bez_recover(word, sizeof(*word)), 0);
	CHECK_EQ(syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value + 1, NULL,
			 NULL, 0), -1);
	CHECK_EQ(errno, EAGAIN);
	CHECK_EQ(replaced(), 1);
}

/* --------------------------------------------------------------- io_uring */

static ssize_t by_ring(int fd, void *buf, size_t n)
{
	const struct io_uring_sqe request = {
		.opcode = IORING_OP_WRITE,
		.fd = fd,
		.off = (uint64_t)position,
		.addr = (uint64_t)buf,
		.len = (uint32_t)n,
	};
	int r = ring_do(&request);

	if (r < 0) {
		errno = -r;
		return -1;
	}
	position += r;
	return r;
}

static void by_io_uring(void)
{
	unsigned char *copy;
	int fd = file();

	ring_open();
	begin();
	CHECK(all_of_it(by_ring, fd, at, len) > 0);
	copy = live_pages(PAGES);
	memset(copy, 0, len);
	CHECK_EQ(pread(fd, copy, len, 0), len);
	CHECK_EQ(memcmp(copy, mirror, len), 0);
	good();
}

/* ------------------------------------------------------------ the answers */

static void one_call(void)
{
	begin();
	CHECK_EQ(bez_recover(at + 17, len - 40), 0);
	good();
	CHECK_EQ(bez_recover(at, len), 0);
	CHECK_EQ(replaced(), 3);
	CHECK_EQ(bez_recover(at, 0), 0);
}

/* Only what was asked about. */
static void no_more(void)
{
	begin();
	CHECK_EQ(bez_recover(at, 2 * page), 0);
	CHECK_EQ(replaced(), 0);
	CHECK_EQ(bez_recover(at + 3 * page, 3 * page), 0);
	CHECK_EQ(replaced(), 1);
	CHECK_EQ(bez_recover(at + 3 * page - 1, 2), 0);
	CHECK_EQ(replaced(), 2);
}

static struct bez_event last_event(void)
{
	struct bez_event e = { .seq = 0 };
	uint64_t seq = 0;

	while (bez_events(&seq, &e, 1) == 1)
		continue;
	return e;
}

static void events(void)
{
	struct bez_event e;

	begin();
	CHECK_EQ(bez_recover(at + 6 * page + 5, 1), 0);
	e = last_event();
	CHECK_EQ(e.cause, BEZ_CAUSE_RECOVER);
	CHECK_EQ(e.outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(e.addr, (uint64_t)(at + 6 * page));
	CHECK_EQ(e.si_code, 0);
	CHECK(!strcmp(e.name, "buffer"));
}

/* What is in front of it is replaced, and nothing else happens. */
static void foreign(void)
{
	struct bez_event e;

	begin();
	live_poison(at + len);
	CHECK_EQ(bez_recover(at, len + page), -EFAULT);
	e = last_event();
	CHECK_EQ(e.cause, BEZ_CAUSE_RECOVER);
	CHECK_EQ(e.outcome, BEZ_OUTCOME_LEFT);
	CHECK_EQ(e.region, 0);
	CHECK_EQ(e.action, BEZ_ACTION_NONE);
	good();
}

static int fails(void *dst, size_t n, uint64_t offset, void *arg)
{
	(void)dst;
	(void)n;
	(void)offset;
	(void)arg;
	return -EIO;
}

static void source_fails(void)
{
	struct bez_source from = bez_source_callback(fails, NULL);
	struct bez_event e;
	unsigned char *it;

	page = live_page();
	signal(SIGBUS, forbidden);
	live_start(BEZ_START_NO_EARLY_KILL);
	it = live_pages(2);
	live_region(it, 2 * page, &from, "fails");
	live_poison(it + page);
	CHECK_EQ(bez_recover(it, 2 * page), -EFAULT);
	e = last_event();
	CHECK_EQ(e.outcome, BEZ_OUTCOME_LEFT);
	CHECK_EQ(e.why, BEZ_OUTCOME_SOURCE_FAILED);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_DEFAULT), 0);
}

static void not_usable(void)
{
	unsigned char *it = live_pages(4);

	page = live_page();
	CHECK_EQ(bez_recover(it, 4 * page), -ESRCH);
	begin();
	CHECK_EQ(bez_recover(it, 4 * page), 0);
	CHECK_EQ(mprotect(it + page, page, PROT_NONE), 0);
	CHECK_EQ(bez_recover(it, 4 * page), -EFAULT);
	CHECK_EQ(bez_recover(it, page), 0);
	CHECK_EQ(munmap(it + page, page), 0);
	CHECK_EQ(bez_recover(it, 4 * page), -EFAULT);
	CHECK_EQ(bez_recover(it + 2 * page, 2 * page), 0);
	CHECK_EQ(bez_recover(it, SIZE_MAX), -EINVAL);
	CHECK_EQ(bez_recover(NULL, 1), -EFAULT);
}

/* More than is asked about at once. */
static void many_pages(void)
{
	struct bez_source from;
	unsigned char *it, *its;
	size_t i;

	page = live_page();
	signal(SIGBUS, forbidden);
	live_start(BEZ_START_NO_EARLY_KILL);
	it = live_pages(1500);
	its = live_pages(1500);
	from = bez_source_mirror(its);
	live_region(it, 1500 * page, &from, "many");
	for (i = 511; i < 1500; i += 100)
		live_poison(it + i * page);
	CHECK_EQ(bez_recover(it, 1500 * page), 0);
	CHECK_EQ(replaced(), 10);
	CHECK_EQ(live_wrong(it, 1500 * page, 0), 0);
}

/* -------------------------------------------------------------- where from */

static int answer = 1;

static void on_usr1(int sig)
{
	(void)sig;
	answer = bez_recover(at, len);
}

static void in_a_handler(void)
{
	begin();
	signal(SIGUSR1, on_usr1);
	raise(SIGUSR1);
	CHECK_EQ(answer, 0);
	good();
}

static unsigned int asks;
static sigset_t inside_mask;

/* While the page is fetched: what is sent waits. */
static int asks_for_more(void *dst, size_t n, uint64_t offset, void *arg)
{
	(void)arg;
	answer = bez_recover(at, len);
	pthread_sigmask(SIG_BLOCK, NULL, &inside_mask);
	pthread_kill(pthread_self(), SIGBUS);
	pthread_kill(pthread_self(), SIGUSR1);
	asks++;
	memcpy(dst, mirror + offset, n);
	return 0;
}

static unsigned int sent, sent_inside, usr1;

static void counts(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if (sig == SIGUSR1)
		usr1++;
	else if (info->si_code == SI_TKILL)
		sent++;
	else
		_exit(98);
	if (asks == 0)
		sent_inside++;
}

static void in_a_source(void)
{
	struct bez_source from = bez_source_callback(asks_for_more, NULL);
	struct sigaction sa = { .sa_sigaction = counts,
				.sa_flags = SA_SIGINFO };
	const int *blocked = tap_data();
	sigset_t bus, was, is;

	page = live_page();
	len = 2 * page;
	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	live_start(BEZ_START_NO_EARLY_KILL);
	at = live_pages(2);
	mirror = live_pages(2);
	live_region(at, len, &from, "asks");
	live_poison(at + page);
	sigemptyset(&bus);
	if (*blocked)
		sigaddset(&bus, SIGBUS);
	pthread_sigmask(SIG_BLOCK, &bus, &was);
	CHECK_EQ(bez_recover(at, len), 0);
	CHECK_EQ(answer, -EDEADLK);
	CHECK_EQ(asks, 1);
	CHECK_EQ(usr1, 1);
	CHECK_EQ(sent_inside, 0);
	CHECK_EQ(sigismember(&inside_mask, SIGUSR1), 1);
	CHECK_EQ(sigismember(&inside_mask, SIGBUS), 0);
	/* a thread that has blocked it is not called for it */
	CHECK_EQ(sent, !*blocked);
	pthread_sigmask(SIG_SETMASK, NULL, &is);
	CHECK_EQ(sigismember(&is, SIGBUS), *blocked);
	CHECK_EQ(sigismember(&is, SIGUSR1), 0);
	pthread_sigmask(SIG_SETMASK, &was, NULL);
	CHECK_EQ(sent, 1);
	CHECK_EQ(live_wrong(at, len, 0), 0);
}

#define THREADS 4

static pthread_barrier_t together;

static void *recovers(void *arg)
{
	int *r = arg;

	pthread_barrier_wait(&together);
	*r = bez_recover(at, len);
	return NULL;
}

static void several_threads(void)
{
	pthread_t thread[THREADS];
	int r[THREADS], i;

	begin();
	pthread_barrier_init(&together, NULL, THREADS);
	for (i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&thread[i], NULL, recovers, &r[i]), 0);
	for (i = 0; i < THREADS; i++) {
		CHECK_EQ(pthread_join(thread[i], NULL), 0);
		CHECK_EQ(r[i], 0);
	}
	good();
}

static const transfer_fn writes = by_write, writes_v = by_writev,
			 reads = by_pread, reads_v = by_readv;
static const int no, yes = 1;

static int asked;

static int counts_calls(void *dst, size_t bytes, uint64_t offset, void *arg)
{
	(void)arg;
	asked++;
	memcpy(dst, mirror + offset, bytes);
	return 0;
}

/* What it is was not looked for before: of a file that was cut a page comes back, too. Once
 * as what it may be, and once as what it is, the source is asked. */
static void cut(void)
{
	struct bez_source from;
	unsigned char *it;
	int fd;

	begin();
	from = bez_source_callback(counts_calls, NULL);
	fd = memfd_create("cut", MFD_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_EQ(ftruncate(fd, (off_t)page), 0);
	it = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(it != MAP_FAILED);
	live_region(it, page, &from, "cut");
	CHECK_EQ(ftruncate(fd, 0), 0);
	CHECK_EQ(bez_recover(it, page), 0);
	CHECK_EQ(live_wrong(it, page, 0), 0);
	CHECK_EQ(replaced(), 1);
	CHECKF(asked <= 2, "%d times", asked);
}

static const struct tap_case cases[] = {
	{ .name = "write", .run = to_file, .data = &writes },
	{ .name = "writev", .run = to_file, .data = &writes_v },
	{ .name = "send", .run = to_socket },
	{ .name = "pread", .run = from_file, .data = &reads },
	{ .name = "readv", .run = from_file, .data = &reads_v },
	{ .name = "futex", .run = by_futex },
	{ .name = "io_uring", .run = by_io_uring },
	{ .name = "in one call", .run = one_call },
	{ .name = "no more than was asked for", .run = no_more },
	{ .name = "events", .run = events },
	{ .name = "memory of no region", .run = foreign },
	{ .name = "source fails", .run = source_fails },
	{ .name = "memory that cannot be used", .run = not_usable },
	{ .name = "many pages", .run = many_pages },
	{ .name = "of a file that was cut", .run = cut },
	{ .name = "in a signal handler", .run = in_a_handler },
	{ .name = "in a source", .run = in_a_source, .data = &no },
	{ .name = "in a source, SIGBUS blocked", .run = in_a_source,
	  .data = &yes },
	{ .name = "several threads", .run = several_threads },
};

TAP_MAIN(cases)
