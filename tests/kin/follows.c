/* SPDX-License-Identifier: MIT */
/* bezoar log --follow: what comes later is shown once, whatever becomes of the store;
 * and it ends when nobody reads it, or there is nothing to read. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kin.h"

static struct kin k;
static int sender;
static pid_t reader;
static FILE *shown;

static void put(uint64_t id)
{
	struct bez_record r = kin_record(id);

	CHECK_EQ(kin_send(sender, &r, sizeof(r)), 0);
	kin_acks(sender, 1);
}

static void begin_daemon(void)
{
	kin_start(&k, "--delay", "0", NULL);
	sender = kin_connect(&k);
}

/* The reader; @shown is what it says. */
static void follow(void)
{
	int ends[2];

	CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
	reader = fork();
	if (!reader) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(ends[1], 1);
		dup2(ends[1], 2);
		execl(BEZOAR, BEZOAR, "log", "--follow", "--json", k.store,
		      (char *)NULL);
		_exit(98);
	}
	close(ends[1]);
	shown = fdopen(ends[0], "r");
	CHECK(shown);
}

static void says(const char *words)
{
	char line[4096];

	CHECK(fgets(line, sizeof(line), shown));
	CHECKF(strstr(line, words), "not %s, but: %s", words, line);
}

static void shows(int id)
{
	char words[32];

	snprintf(words, sizeof(words), "\"id\":%d,", id);
	says(words);
}

/* It has read what there was, and waits. */
static void begin(void)
{
	kin_make(&k);
	begin_daemon();
	put(1);
	follow();
	shows(1);
}

static void ends(int status)
{
	int how;

	CHECK_EQ(waitpid(reader, &how, 0), reader);
	CHECK_EQ(how, status << 8);
}

static void end(void)
{
	CHECK_EQ(kill(reader, SIGTERM), 0);
	waitpid(reader, NULL, 0);
	fclose(shown);
	close(sender);
	kin_end(&k);
}

static void move_away(void)
{
	char away[128];

	snprintf(away, sizeof(away), "%s/away.db", k.folder);
	CHECK_EQ(rename(k.store, away), 0);
}

/* It sees nothing of what comes now, until SIGCONT. */
static void stop(void)
{
	int how;

	CHECK_EQ(kill(reader, SIGSTOP), 0);
	CHECK_EQ(waitpid(reader, &how, WUNTRACED), reader);
	CHECK(WIFSTOPPED(how));
}

static void waits(void)
{
	int i;

	begin();
	for (i = 2; i <= 4; i++) {
		put((uint64_t)i);
		shows(i);
	}
	end();
}

/* The daemon begins another where its own was moved away. */
static void goes_along(void)
{
	begin();
	move_away();
	put(20);
	says("moved away");
	shows(20);
	put(21);
	shows(21);
	end();
}

/* What the old one has got meanwhile is not lost, nor is anything shown twice. */
static void misses_nothing(void)
{
	begin();
	stop();
	put(2);
	put(3);
	move_away();
	put(20);
	put(21);
	CHECK_EQ(kill(reader, SIGCONT), 0);
	shows(2);
	shows(3);
	says("moved away");
	shows(20);
	shows(21);
	put(22);
	shows(22);
	end();
}

/* Where the new one is none that it knows, it says so and ends. */
static void other(void)
{
	begin();
	stop();
	close(sender);
	kin_stop(&k);
	move_away();
	begin_daemon();
	close(sender);
	kin_stop(&k);
	kin_change(&k, "UPDATE meta SET value = 999 WHERE key = 'schema'");
	/* as the daemon would, it touches something there */
	CHECK_EQ(chmod(k.store, 0600), 0);
	CHECK_EQ(kill(reader, SIGCONT), 0);
	says("moved away");
	says("newer version");
	ends(2);
	fclose(shown);
	kin_end(&k);
}

/* Nothing comes any more, and nobody reads. */
static void unread(void)
{
	begin();
	fclose(shown);
	ends(0);
	close(sender);
	kin_end(&k);
}

static const struct tap_case cases[] = {
	{ .name = "what comes later is waited for", .run = waits },
	{ .name = "another store in its place", .run = goes_along },
	{ .name = "what it had not seen of the old one", .run = misses_nothing },
	{ .name = "a store of another version in its place", .run = other },
	{ .name = "nobody reads it", .run = unread, .timeout_s = 5 },
};
TAP_MAIN(cases)
