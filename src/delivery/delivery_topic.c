/*-------------------------------------------------------------------------
 *
 * delivery_topic.c
 *		What topics' readers are told beside the WAL: messages sent at once,
 *		and who comes, changes and goes.
 *
 * The stream worker does it between its turns.  Its position in the WAL is
 * the position of these messages too: all that was committed before it has
 * been told by then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "delivery/delivery.h"
#include "delivery/delivery_internal.h"

#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/json_out.h"
#include "presence/presence.h"

/* What is told in one turn. */
#define TOPIC_MESSAGES 1000
#define TOPIC_NEWS 1000

/* News of one topic in a turn above which its readers look for themselves. */
#define TOPIC_NEWS_EACH 100

/* A topic of which there is news in this turn. */
typedef struct TopicNews
{
	char topic[PLINTH_TOPIC_SIZE]; /* hash key - MUST BE FIRST */
	int count;
} TopicNews;

static void tell_messages(XLogRecPtr lsn, StringInfo payload);
static void tell_presence(XLogRecPtr lsn, StringInfo payload);
static void tell_state(PresenceEvent event, const PresenceState *state,
					   XLogRecPtr lsn, StringInfo payload);
static void tell_sync(const char *topic, XLogRecPtr lsn, StringInfo payload);
static void begin_presence(StringInfo body, const char *event, const char *topic);
static void send_presence(StringInfo body, const char *topic, XLogRecPtr lsn,
						  StringInfo payload);
static HTAB *topics_of_turn(void);

bool
plinth_delivery_has_news(void)
{
	return plinth_delivery_queued() || plinth_presence_has_news();
}

void
plinth_delivery_tell_news(XLogRecPtr lsn)
{
	StringInfoData payload;

	initStringInfo(&payload);
	plinth_delivery_tell_notices(&payload);
	tell_messages(lsn, &payload);
	tell_presence(lsn, &payload);
}

/*
 * Messages that were sent at once.
 */
static void
tell_messages(XLogRecPtr lsn, StringInfo payload)
{
	MemoryContext context = AllocSetContextCreate(
		CurrentMemoryContext, "plinth message", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	for (int i = 0; i < TOPIC_MESSAGES; i++)
	{
		DeliveryMessage message = {.action = WIRE_MESSAGE, .lsn = lsn};
		Size length;
		char *bytes = plinth_delivery_dequeue(&length, &message.commit_time);
		WireMessage wire;
		RouterReader *readers;
		int nreaders;

		if (bytes == NULL)
			break;
		if (!plinth_wire_unpack_message(bytes, length, &wire))
			elog(ERROR, "invalid message in the queue");
		readers = plinth_router_topic_readers(wire.topic, ROUTER_EVENT_BROADCAST,
											  NULL, &nreaders);
		if (nreaders > 0)
		{
			StringInfoData body;

			initStringInfo(&body);
			plinth_wire_write_message(&body, &wire, lsn, message.commit_time);
			plinth_delivery_hand_over(&message, &body, readers, nreaders,
									  payload);
		}
		MemoryContextReset(context);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/*
 * Who has come, changed and gone.  Where that is a crowd, the topic's readers
 * are told to look for themselves, once.
 */
static void
tell_presence(XLogRecPtr lsn, StringInfo payload)
{
	HTAB *topics = NULL;
	MemoryContext context = AllocSetContextCreate(
		CurrentMemoryContext, "plinth presence news", ALLOCSET_DEFAULT_SIZES);
	HASH_SEQ_STATUS scan;
	TopicNews *news;

	for (int i = 0; i < TOPIC_NEWS && plinth_presence_has_news(); i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		PresenceState state;
		PresenceEvent event;
		bool found;

		if (!plinth_presence_next_news(&event, &state))
		{
			MemoryContextSwitchTo(old);
			break;
		}
		if (topics == NULL)
		{
			MemoryContextSwitchTo(old);
			topics = topics_of_turn();
			MemoryContextSwitchTo(context);
		}
		news = hash_search(topics, state.topic, HASH_ENTER, &found);
		news->count = found ? news->count + 1 : 1;
		if (news->count <= TOPIC_NEWS_EACH)
			tell_state(event, &state, lsn, payload);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextDelete(context);
	if (topics == NULL)
		return;

	hash_seq_init(&scan, topics);
	while ((news = hash_seq_search(&scan)) != NULL)
		if (news->count > TOPIC_NEWS_EACH)
			tell_sync(news->topic, lsn, payload);
	hash_destroy(topics);
}

/*
 * Tell of one connection.
 */
static void
tell_state(PresenceEvent event, const PresenceState *state, XLogRecPtr lsn,
		   StringInfo payload)
{
	static const char *const names[] = {
		[PRESENCE_JOIN] = "join", [PRESENCE_UPDATE] = "update", [PRESENCE_LEAVE] = "leave"};
	StringInfoData body;

	if (!plinth_router_wants_topic(state->topic))
		return;
	begin_presence(&body, names[event], state->topic);
	plinth_presence_write(&body, state);
	send_presence(&body, state->topic, lsn, payload);
}

/*
 * Tell that there is too much to tell.
 */
static void
tell_sync(const char *topic, XLogRecPtr lsn, StringInfo payload)
{
	StringInfoData body;

	if (!plinth_router_wants_topic(topic))
		return;
	begin_presence(&body, "sync", topic);
	send_presence(&body, topic, lsn, payload);
	pfree(body.data);
}

static void
begin_presence(StringInfo body, const char *event, const char *topic)
{
	initStringInfo(body);
	appendStringInfoCharMacro(body, '{');
	plinth_json_name(body, "eventType");
	appendStringInfoString(body, "\"presence\"");
	plinth_json_name(body, "topic");
	plinth_json_string(body, topic, strlen(topic));
	plinth_json_name(body, "event");
	appendStringInfo(body, "\"%s\"", event);
}

static void
send_presence(StringInfo body, const char *topic, XLogRecPtr lsn,
			  StringInfo payload)
{
	DeliveryMessage message = {.action = WIRE_PRESENCE,
							   .lsn = lsn,
							   .commit_time = GetCurrentTimestamp()};
	RouterReader *readers;
	int nreaders;

	plinth_json_name(body, "commit_timestamp");
	plinth_json_time(body, message.commit_time);
	plinth_json_name(body, "lsn");
	appendStringInfo(body, "\"%X/%X\"}", LSN_FORMAT_ARGS(lsn));
	readers = plinth_router_topic_readers(topic, ROUTER_EVENT_PRESENCE, NULL,
										  &nreaders);
	if (nreaders > 0)
		plinth_delivery_hand_over(&message, body, readers, nreaders, payload);
}

/*
 * The topics of which there is news in this turn.
 */
static HTAB *
topics_of_turn(void)
{
	HASHCTL info = {.keysize = PLINTH_TOPIC_SIZE,
					.entrysize = sizeof(TopicNews),
					.hcxt = CurrentMemoryContext};

	return hash_create("plinth topics of a turn", 64, &info,
					   HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}
