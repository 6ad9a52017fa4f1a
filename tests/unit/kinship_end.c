/* SPDX-License-Identifier: MIT */
/*
 * Fifth room: the two records of a shutdown, where a daemon is asked for. It has
 * them, and has said so; or they are in the file before the process ends.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "finishing.h"

static const struct daemon {
	uint32_t answers;	/* that many of the records */
	int together;		/* both in one packet */
	int ends;		/* then it closes the connection */
	int absent;
} keeps = { .answers = 2 }, keeps_together = { .answers = 2, .together = 1 },
  keeps_first = { .answers = 1 }, silent = { .answers = 0 },
  dies = { .answers = 1, .ends = 1 }, absent = { .absent = 1 };

static pthread_t thread;
static struct bez_record got[2];

static void begin(const struct daemon *d, uint64_t patience)
{
	begin_end(patience);
	if (d->absent)
		goes_away();
}

/* One that does not wait any more, as this process was busy, has heard less. */
static void answer(int fd, const uint64_t *digests, size_t len)
{
	CHECK(send(fd, digests, len, MSG_NOSIGNAL) == (ssize_t)len ||
	      (errno == EPIPE && bz_core.shutdown_ns == SHORT_NS));
}

/* The connection of the process's end is the second. */
static void *serve(void *arg)
{
	const struct daemon *d = arg;
	int usual = accept(listener, NULL, NULL), last, i;
	uint64_t digests[2];

	CHECK(usual >= 0);
	last = accept(listener, NULL, NULL);
	CHECK(last >= 0);
	for (i = 0; i < 2; i++) {
		CHECK_EQ(recv(last, &got[i], sizeof(got[i]), 0),
			 BEZ_RECORD_BYTES);
		digests[i] = got[i].digest;
		if ((uint32_t)i < d->answers && !d->together)
			answer(last, &digests[i], 8);
	}
	if (d->together)
		answer(last, digests, 16);
	if (d->ends)
		close(last);
	return NULL;
}

static uint64_t end(const struct daemon *d)
{
	uint64_t from;

	if (!d->absent)
		CHECK_EQ(pthread_create(&thread, NULL, serve, (void *)d), 0);
	from = bz_now_ns();
	write_end(BEZ_OUTCOME_SHUTDOWN_BEGUN);
	write_end(BEZ_OUTCOME_SHUTDOWN);
	from = bz_now_ns() - from;
	if (!d->absent)
		pthread_join(thread, NULL);
	return from;
}

/* All that the daemon has not said that it has. */
static void rest_written(const struct daemon *d)
{
	if (!d->answers)
		return both_written();
	CHECK_EQ(length(file), BEZ_RECORD_BYTES);
	is_written(0, BEZ_OUTCOME_SHUTDOWN);
}

/* It is waited for, and the disk is not. */
static void kept(void)
{
	const struct daemon *d = tap_data();

	begin(d, PATIENCE_NS);
	double_watch();
	end(d);
	double_rest();
	CHECK_EQ(got[0].outcome, BEZ_OUTCOME_SHUTDOWN_BEGUN);
	CHECK_EQ(got[1].outcome, BEZ_OUTCOME_SHUTDOWN);
	CHECK_EQ(length(file), 0);
	CHECK_EQ(double_count(SYS_fdatasync, 0), 0);
	CHECK_EQ(mm->records_sent, 2);
}

/* As long as there is time, and not longer. */
static void not_kept(void)
{
	const struct daemon *d = tap_data();

	begin(d, SHORT_NS);
	/* its answer to the first comes, however slow this machine is */
	if (d->answers)
		bz_recorder.last.begun_ns = PATIENCE_NS;
	double_watch();
	CHECK(end(d) >= SHORT_NS);
	double_rest();
	rest_written(d);
	CHECK_EQ(double_count(SYS_fdatasync, 0), 1);
}

/* One that ends, or is not there, is not waited for. */
static void nobody(void)
{
	const struct daemon *d = tap_data();

	begin(d, PATIENCE_NS);
	double_watch();
	end(d);
	double_rest();
	rest_written(d);
	CHECK_EQ(double_count(SYS_fdatasync, 0), 1);
}

/* What it has not said after a moment is written, hooks or not. It may say it later:
 * then what is written goes to the disk, as it is there. */
static void says_it_late(void)
{
	begin(&keeps_together, PATIENCE_NS);
	bz_recorder.last.begun_ns = 1;
	CHECK_EQ(pthread_create(&thread, NULL, serve,
				(void *)&keeps_together), 0);
	double_watch();
	write_end(BEZ_OUTCOME_SHUTDOWN_BEGUN);
	CHECK_EQ(length(file), BEZ_RECORD_BYTES);
	CHECK_EQ(mm->records, 1);
	write_end(BEZ_OUTCOME_SHUTDOWN);
	double_rest();
	pthread_join(thread, NULL);
	CHECK_EQ(length(file), BEZ_RECORD_BYTES);
	is_written(0, BEZ_OUTCOME_SHUTDOWN_BEGUN);
	CHECK_EQ(mm->records_sent, 1);
	CHECK_EQ(double_count(SYS_fdatasync, 0), 1);
}

/* So has what earlier records have left there. */
static void earlier_settled(void)
{
	begin(&keeps, PATIENCE_NS);
	atomic_store(&mm->records, 1);
	double_watch();
	end(&keeps);
	double_rest();
	CHECK_EQ(length(file), 0);
	CHECK_EQ(double_count(SYS_fdatasync, 0), 1);
}

/* One that stands still: with a file it is half a second, whatever there is. */
static void stands_still(void)
{
	uint64_t begun, both;

	listen_there();
	file = memory_file();
	open_house(file, 0);
	bz_core.shutdown_ns = PATIENCE_NS;
	unit_patience(20);
	both = bz_now_ns();
	write_end(BEZ_OUTCOME_SHUTDOWN_BEGUN);
	begun = bz_now_ns() - both;
	write_end(BEZ_OUTCOME_SHUTDOWN);
	both = bz_now_ns() - both;
	tap_diag("%.3f s, %.3f s of them for the first", (double)both / 1e9,
		 (double)begun / 1e9);
	CHECK(begun >= 20000000 && both >= begun + 400000000);
	both_written();
}

/* Nothing is waited for twice where there is no file: all the time, at the end. */
static void no_file(void)
{
	uint64_t begun, both;

	listen_there();
	open_house(0, 0);
	bz_core.shutdown_ns = SHORT_NS;
	bz_recorder.last.begun_ns = PATIENCE_NS;
	bz_recorder.last.end_ns = 1;
	unit_patience(20);
	double_watch();
	both = bz_now_ns();
	write_end(BEZ_OUTCOME_SHUTDOWN_BEGUN);
	begun = double_count(SYS_ppoll, 0);
	write_end(BEZ_OUTCOME_SHUTDOWN);
	both = bz_now_ns() - both;
	double_rest();
	CHECK_EQ(begun, 0);
	CHECK(both >= SHORT_NS);
}

/* Somebody who never stops talking, and never says that. */
static void *talks(void *arg)
{
	static const uint64_t junk[8] = { 1, 2, 3 };
	int usual = accept(listener, NULL, NULL), last;

	last = accept(listener, NULL, NULL);
	CHECK(usual >= 0 && last >= 0);
	while (send(last, junk, 8, MSG_NOSIGNAL) == 8)
		continue;
	close(usual);
	close(last);
	return arg;
}

/* By the clock, which stands still here, there is time for ever. */
static void talked_to(void)
{
	begin(&silent, PATIENCE_NS);
	unit_patience(20);
	CHECK_EQ(pthread_create(&thread, NULL, talks, NULL), 0);
	double_watch();
	double_stop_clock();
	write_end(BEZ_OUTCOME_SHUTDOWN_BEGUN);
	write_end(BEZ_OUTCOME_SHUTDOWN);
	double_rest();
	pthread_join(thread, NULL);
	both_written();
}

/* The hooks have had all the time that there was. */
static void late(void)
{
	int left = -1;

	begin(&silent, 0);
	unit_patience(20);
	write_end(BEZ_OUTCOME_SHUTDOWN_BEGUN);
	write_end(BEZ_OUTCOME_SHUTDOWN_LATE);
	CHECK_EQ(length(file), 2 * BEZ_RECORD_BYTES);
	/* it has them all the same: the usual connection, and the last */
	close(accept(listener, NULL, NULL));
	left = accept(listener, NULL, NULL);
	CHECK(recv(left, got, sizeof(got), 0) == BEZ_RECORD_BYTES);
	CHECK(recv(left, got, sizeof(got), 0) == BEZ_RECORD_BYTES);
	CHECK_EQ(recv(left, got, sizeof(got), 0), 0);
}

static const struct tap_case cases[] = {
	{ .name = "it has them", .run = kept, .data = &keeps },
	{ .name = "it has them, says it late", .run = says_it_late },
	{ .name = "it has them, the file earlier ones", .run = earlier_settled },
	{ .name = "it stands still", .run = stands_still, .timeout_s = 30 },
	{ .name = "it stands still, and there is no file", .run = no_file },
	{ .name = "it says nothing", .run = not_kept, .data = &silent },
	{ .name = "it says half", .run = not_kept, .data = &keeps_first },
	{ .name = "it dies meanwhile", .run = nobody, .data = &dies },
	{ .name = "it is not there", .run = nobody, .data = &absent },
	{ .name = "it talks, and says nothing", .run = talked_to },
	{ .name = "there is no time left", .run = late },
};
TAP_MAIN(cases)
