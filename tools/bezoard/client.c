/* SPDX-License-Identifier: MIT */
#include "client.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define SECOND		1000000000u
#define TURN		16		/* packets */
#define DRAIN		64		/* turns: more than a socket holds */
#define ANSWERS		65536		/* bytes in the kernel for each who does not
					 * read them */

void clients_init(struct clients *c, int epoll, struct batch *batch,
		  struct helds *helds, uint32_t rate, uint32_t most)
{
	uint32_t i;

	c->epoll = epoll;
	c->batch = batch;
	c->helds = helds;
	c->rate = rate;
	c->most = most;
	c->generations = 0;
	for (i = 0; i < CLIENTS_MOST; i++)
		c->client[i] = (struct client){ .fd = -1 };
}

static void drop(struct clients *c, struct client *client)
{
	close(client->fd);		/* and leaves the epoll by that */
	client->fd = -1;
	held_leave(c->helds, client->held);
}

/* What the kernel says of it. 0: there is nothing, which is an end. */
static int sender_of(struct msghdr *msg, struct sender *sender)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(msg);
	struct ucred who;

	if (!c || c->cmsg_level != SOL_SOCKET ||
	    c->cmsg_type != SCM_CREDENTIALS)
		return 0;
	memcpy(&who, CMSG_DATA(c), sizeof(who));
	sender->pid = who.pid;
	sender->uid = who.uid;
	return 1;
}

static int is_flood(struct clients *c, struct client *client, uint64_t now)
{
	if (client->second != now / SECOND) {
		client->second = now / SECOND;
		client->in_second = 0;
	}
	return client->in_second++ >= c->rate;
}

static void take(struct clients *c, struct client *client,
		 const unsigned char *bytes, size_t len, int cut, uint64_t now)
{
	enum count what;
	struct item *item;

	if (is_flood(c, client, now)) {
		batch_count(c->batch, COUNT_FLOOD, 1);
		return;
	}
	item = batch_room(c->batch);
	if (!item)
		return;
	if (!judge(bytes, len, cut, &client->sender, item, &what)) {
		batch_count(c->batch, what, 1);
		return;
	}
	item->client = (uint32_t)(client - c->client);
	item->generation = client->generation;
	batch_add(c->batch);
}

int client_turn(struct clients *c, uint32_t i)
{
	unsigned char bytes[BEZ_RECORD_MOST];
	char control[CMSG_SPACE(sizeof(struct ucred))];
	struct client *client = &c->client[i];
	uint64_t now = clock_now();
	ssize_t len;
	int n;

	for (n = 0; n < TURN && client->fd >= 0; n++) {
		struct iovec iov = { bytes, sizeof(bytes) };
		struct msghdr msg = {
			.msg_iov = &iov, .msg_iovlen = 1,
			.msg_control = control,
			.msg_controllen = sizeof(control),
		};

		len = recvmsg(client->fd, &msg, MSG_CMSG_CLOEXEC);
		if (len < 0 && errno == EAGAIN)
			return 0;
		/* it has ended without reading its answers: what it has sent
		 * before is still there, behind this error */
		if (len < 0 && (errno == EINTR || errno == ECONNRESET))
			continue;
		if (len < 0 || !sender_of(&msg, &client->sender)) {
			drop(c, client);
			return 0;
		}
		client->last_ns = now;
		client->has_sent = 1;
		take(c, client, bytes, (size_t)len,
		     !!(msg.msg_flags & MSG_TRUNC), now);
	}
	return client->fd >= 0;
}

static void drain(struct clients *c, uint32_t i)
{
	int n;

	for (n = 0; n < DRAIN && c->client[i].fd >= 0 && client_turn(c, i); n++)
		continue;
}

void clients_drain(struct clients *c, struct held_by by)
{
	int all = held_wants_word(c->helds, by);
	uint32_t i;

	for (i = 0; i < c->most; i++)
		if (all || c->client[i].held.generation == by.generation)
			drain(c, i);
}

static uint32_t of_user(const struct clients *c, uid_t uid)
{
	uint32_t i, n = 0;

	for (i = 0; i < c->most; i++)
		n += c->client[i].fd >= 0 && c->client[i].uid == uid;
	return n;
}

/* Is it only there so that its end is known? A worker's, which speaks by its parent's, as
 * long as there is that. */
static int is_line(const struct clients *c, const struct client *client)
{
	uint32_t i;

	if (client->has_sent || !client->parent)
		return 0;
	for (i = 0; i < c->most; i++)
		if (c->client[i].fd >= 0 && c->client[i].pid == client->parent)
			return 1;
	return 0;
}

/* All places are taken. Where several users have as many they are as one. */
static void make_room(struct clients *c)
{
	struct client *victim = &c->client[0];
	uint32_t most = of_user(c, victim->uid), i;
	int line = is_line(c, victim);

	for (i = 1; i < c->most; i++) {
		struct client *other = &c->client[i];
		uint32_t n = other->uid == victim->uid ? most :
							 of_user(c, other->uid);
		int is = is_line(c, other);

		if (n > most ||
		    (n == most && (is != line ? is :
				   other->last_ns < victim->last_ns))) {
			victim = other;
			most = n;
			line = is;
		}
	}
	/* what it sends from now on is refused, and what it has sent is read */
	shutdown(victim->fd, SHUT_RD);
	drain(c, (uint32_t)(victim - c->client));
	if (victim->fd >= 0)
		drop(c, victim);
	batch_count(c->batch, COUNT_CLOSED, 1);
}

static struct client *place(struct clients *c)
{
	uint32_t i;

	for (i = 0; i < c->most; i++)
		if (c->client[i].fd < 0)
			return &c->client[i];
	make_room(c);
	return place(c);
}

static void come(struct clients *c, int fd)
{
	struct ucred peer = { 0, (uid_t)-1, (gid_t)-1 };
	socklen_t len = sizeof(peer);
	struct epoll_event event = { .events = EPOLLIN };
	int room = ANSWERS;
	struct client *new = place(c);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len)) {
		close(fd);
		return;
	}
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	*new = (struct client){
		.fd = fd, .uid = peer.uid, .generation = ++c->generations,
		.last_ns = clock_now(),
		.held = held_take(c->helds, fd, peer.pid, peer.uid),
		.sender = { .pid = peer.pid, .uid = peer.uid },
	};
	judge_know(&new->sender);
	new->pid = peer.pid;
	new->parent = new->sender.parent;
	event.data.u64 = (uint64_t)(new - c->client);
	if (epoll_ctl(c->epoll, EPOLL_CTL_ADD, fd, &event))
		drop(c, new);
}

void clients_accept(struct clients *c, int listener)
{
	int fd, n;

	for (n = 0; n < TURN; n++) {
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0)
			return;
		come(c, fd);
	}
}

int client_tell(struct clients *c, uint32_t i, uint64_t generation,
		const void *bytes, size_t len)
{
	const struct client *client = &c->client[i];

	if (client->fd < 0 || client->generation != generation)
		return 0;
	if (send(client->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return 0;
	return errno == EAGAIN || errno == ENOBUFS ? -1 : 0;
}

void clients_close(struct clients *c)
{
	uint32_t i;

	for (i = 0; i < CLIENTS_MOST; i++)
		if (c->client[i].fd >= 0)
			drop(c, &c->client[i]);
}
