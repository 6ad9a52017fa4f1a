/* SPDX-License-Identifier: MIT */
/* A client of the text protocol, over one socket. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "campaign.h"

#define PATIENCE_S	10	/* with one answer; TAP_PATIENCE multiplies */
#define BUFFER	(4u << 20)	/* all that one get can bring */

void client_open(struct client *c, int fd, const char *name)
{
	const char *times = getenv("TAP_PATIENCE");
	const struct timeval patience = {
		.tv_sec = PATIENCE_S * (times && atoi(times) > 1 ? atoi(times) :
					1) };

	*c = (struct client){ .fd = fd, .name = name,
			      .buffer = malloc(BUFFER) };
	c->broken = !c->buffer ||
		    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
			       sizeof(patience));
}

void client_close(struct client *c)
{
	free(c->buffer);
	c->buffer = NULL;
}

static void broken(struct client *c, const char *what)
{
	if (!c->broken)
		fprintf(stderr, "kv-campaign: %s: %s\n", c->name, what);
	c->broken = true;
}

static void send_all(struct client *c, const char *at, size_t len)
{
	while (len && !c->broken) {
		ssize_t n = send(c->fd, at, len, MSG_NOSIGNAL);

		if (n <= 0)
			return broken(c, "cannot send");
		at += n;
		len -= (size_t)n;
	}
}

/* There are @len bytes from c->begin on; 0: broken. */
static int receive(struct client *c, size_t len)
{
	if (len > BUFFER)
		broken(c, "an answer that is too long");
	if (!c->broken && c->begin + len > BUFFER)
		broken(c, "answers that are too long");
	while (!c->broken && c->end - c->begin < len) {
		ssize_t n = recv(c->fd, c->buffer + c->end, BUFFER - c->end, 0);

		if (n <= 0)
			broken(c, "no answer any more");
		else
			c->end += (size_t)n;
	}
	return !c->broken;
}

static char *receive_line(struct client *c)
{
	size_t len = 0;
	char *at;

	for (;;) {
		at = c->buffer + c->begin;
		while (len < c->end - c->begin && at[len] != '\n')
			len++;
		if (len < c->end - c->begin)
			break;
		if (!receive(c, len + 1))
			return NULL;
	}
	if (!len || at[len - 1] != '\r') {
		broken(c, "a line without its end");
		return NULL;
	}
	at[len - 1] = '\0';
	c->begin += len + 1;
	return at;
}

/* All of the former answer was read. */
static void fresh(struct client *c)
{
	if (c->begin != c->end)
		broken(c, "it has said more than it was asked");
	c->begin = c->end = 0;
}

char *client_ask(struct client *c, const char *line)
{
	fresh(c);
	send_all(c, line, strlen(line));
	send_all(c, "\r\n", 2);
	return receive_line(c);
}

char *client_put(struct client *c, const char *command, const char *key,
		 const char *at, size_t len)
{
	char line[320];

	fresh(c);
	snprintf(line, sizeof(line), "%s %s 7 0 %zu\r\n", command, key, len);
	send_all(c, line, strlen(line));
	send_all(c, at, len);
	send_all(c, "\r\n", 2);
	return receive_line(c);
}

/* The values of one get, as they come: in the order of the keys, some missing. */
static int values(struct client *c, const char *const *keys, size_t count,
		  void (*each)(void *arg, size_t key, const char *at, size_t len),
		  void *arg)
{
	size_t i = 0, len;
	char key[256];
	char *line;

	while ((line = receive_line(c)) && strcmp(line, "END")) {
		if (sscanf(line, "VALUE %255s 7 %zu", key, &len) != 2) {
			broken(c, line);
			return -1;
		}
		while (i < count && strcmp(keys[i], key))
			i++;
		if (i == count) {
			broken(c, "a value that was not asked for");
			return -1;
		}
		if (!receive(c, len + 2))
			return -1;
		if (memcmp(c->buffer + c->begin + len, "\r\n", 2)) {
			broken(c, "a value of another length");
			return -1;
		}
		each(arg, i++, c->buffer + c->begin, len);
		c->begin += len + 2;
	}
	return line ? 0 : -1;
}

int client_get(struct client *c, const char *const *keys, size_t count,
	       void (*each)(void *arg, size_t key, const char *at, size_t len),
	       void *arg)
{
	static _Thread_local char line[GET_KEYS * 256];
	size_t i, len = 3;

	fresh(c);
	memcpy(line, "get", 3);
	for (i = 0; i < count && i < GET_KEYS; i++)
		len += (size_t)sprintf(line + len, " %s", keys[i]);
	len += (size_t)sprintf(line + len, "\r\n");
	send_all(c, line, len);
	return values(c, keys, count, each, arg);
}

uint64_t client_stat(struct client *c, const char *name)
{
	uint64_t value = UINT64_MAX;
	size_t len = strlen(name);
	char *line;

	for (line = client_ask(c, "stats"); line && strcmp(line, "END");
	     line = receive_line(c))
		if (!strncmp(line, "STAT ", 5) &&
		    !strncmp(line + 5, name, len) && line[5 + len] == ' ')
			value = strtoull(line + 5 + len, NULL, 10);
	return value;
}
