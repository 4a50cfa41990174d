/*-------------------------------------------------------------------------
 *
 * presence_state.c
 *		What is known of a connection: as bytes, as JSON, as a list.
 *
 * See presence_internal.h for the locking.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "presence/presence_internal.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/json_out.h"

/* A list that is being copied. */
typedef struct PresenceCopy
{
	int states_size;
	Size text_size;
	int states; /* copied, or wanted when there is no room */
	Size text;
	PresenceState *list;
	char *buffer;
} PresenceCopy;

static char *pack_text(char *at, const char *text);
static const char *unpack_text(const char **at);
static void copy_topic(PresenceCopy *copy, const char *topic);
static void copy_all(PresenceCopy *copy);
static void copy_entry(PresenceCopy *copy, const PresenceEntry *entry,
					   PresenceNow now);
static void write_text(StringInfo out, const char *name, const char *text);

/*
 * The texts of a state as bytes, at most PRESENCE_BODY_MAX.  Returns how many.
 */
uint32
plinth_presence_pack(const PresenceState *state, char *bytes)
{
	char *at = bytes;

	at = pack_text(at, state->username);
	at = pack_text(at, state->avatar_url);
	at = pack_text(at, state->current_page);
	at = pack_text(at, state->browser);
	at = pack_text(at, state->meta);
	Assert(at - bytes <= PRESENCE_BODY_MAX);
	return (uint32) (at - bytes);
}

/*
 * And back; the state's texts lead into the bytes.
 */
void
plinth_presence_unpack(const char *bytes, PresenceState *state)
{
	state->username = unpack_text(&bytes);
	state->avatar_url = unpack_text(&bytes);
	state->current_page = unpack_text(&bytes);
	state->browser = unpack_text(&bytes);
	state->meta = unpack_text(&bytes);
}

/*
 * The fixed part of an entry.
 */
void
plinth_presence_get_state(const PresenceEntry *entry, PresenceState *state)
{
	state->user_id = entry->user_id;
	state->connection_id = entry->connection_id;
	state->status = entry->status;
	state->device = entry->device;
	state->online_at = entry->online_at;
	state->last_seen = entry->last_seen;
}

/*
 * Append the members of a state to an object.
 */
void
plinth_presence_write(StringInfo out, const PresenceState *state)
{
	plinth_json_name(out, "user_id");
	plinth_json_uuid(out, &state->user_id);
	plinth_json_name(out, "connection_id");
	plinth_json_uuid(out, &state->connection_id);
	write_text(out, "username", state->username);
	write_text(out, "avatar_url", state->avatar_url);
	write_text(out, "status", plinth_presence_status_name(state->status));
	plinth_json_name(out, "last_seen");
	plinth_json_time(out, state->last_seen);
	plinth_json_name(out, "online_at");
	plinth_json_time(out, state->online_at);
	write_text(out, "current_page", state->current_page);
	write_text(out, "device_type", plinth_presence_device_name(state->device));
	write_text(out, "device_browser", state->browser);
	plinth_json_name(out, "meta");
	appendStringInfoString(out, state->meta);
}

/*
 * Who is under a topic, or under any.
 */
PresenceState *
plinth_presence_list(const char *topic, int *count)
{
	PresenceCopy copy = {.states_size = 64, .text_size = 16 * 1024};

	for (;;)
	{
		copy.list = MemoryContextAllocHuge(
			CurrentMemoryContext,
			mul_size(copy.states_size, sizeof(PresenceState)));
		copy.buffer =
			MemoryContextAllocHuge(CurrentMemoryContext, copy.text_size);
		copy.states = 0;
		copy.text = 0;

		LWLockAcquire(plinth_presence->lock, LW_SHARED);
		if (topic != NULL)
			copy_topic(&copy, topic);
		else
			copy_all(&copy);
		LWLockRelease(plinth_presence->lock);
		if (copy.states <= copy.states_size && copy.text <= copy.text_size)
			break;

		/* room for those who come meanwhile, too */
		copy.states_size = copy.states + copy.states / 4 + 64;
		copy.text_size = copy.text + copy.text / 4 + 16 * 1024;
		pfree(copy.list);
		pfree(copy.buffer);
	}
	for (int i = 0; i < copy.states; i++)
		plinth_presence_unpack(
			copy.list[i].topic + strlen(copy.list[i].topic) + 1, &copy.list[i]);

	*count = copy.states;
	return copy.list;
}

const char *
plinth_presence_status_name(PresenceStatus status)
{
	switch (status)
	{
		case PRESENCE_ONLINE:
			return "online";
		case PRESENCE_BUSY:
			return "busy";
		case PRESENCE_AWAY:
			return "away";
		case PRESENCE_OFFLINE:
			return "offline";
	}
	return NULL;
}

const char *
plinth_presence_device_name(PresenceDevice device)
{
	switch (device)
	{
		case PRESENCE_NO_DEVICE:
			return NULL;
		case PRESENCE_DESKTOP:
			return "desktop";
		case PRESENCE_MOBILE:
			return "mobile";
		case PRESENCE_TABLET:
			return "tablet";
	}
	return NULL;
}

/*
 * A text: a byte that says whether there is one, the text and its zero.
 */
static char *
pack_text(char *at, const char *text)
{
	Size length = text != NULL ? strlen(text) : 0;

	*at++ = text != NULL ? 1 : 0;
	if (text != NULL)
		memcpy(at, text, length);
	at[length] = '\0';
	return at + length + 1;
}

static const char *
unpack_text(const char **at)
{
	bool there = **at != 0;
	const char *text = *at + 1;

	*at = text + strlen(text) + 1;
	return there ? text : NULL;
}

/*
 * Copy those under a topic of this database.
 */
static void
copy_topic(PresenceCopy *copy, const char *topic)
{
	PresenceNow now = plinth_presence_now();
	int number =
		plinth_presence_topics[plinth_presence_topic_bucket(topic)].first;

	while (number != PRESENCE_NONE)
	{
		PresenceEntry *entry = &plinth_presence_table[number];

		if (strcmp(entry->topic, topic) == 0)
			copy_entry(copy, entry, now);
		number = entry->by_topic.next;
	}
}

static void
copy_all(PresenceCopy *copy)
{
	PresenceNow now = plinth_presence_now();

	for (int i = 0; i < plinth_presence->high_water; i++)
		copy_entry(copy, &plinth_presence_table[i], now);
}

/*
 * Copy an entry of this database that is here, as topic and body one behind
 * the other; or count what it would take.
 */
static void
copy_entry(PresenceCopy *copy, const PresenceEntry *entry, PresenceNow now)
{
	Size topic_size = strlen(entry->topic) + 1;
	Size size = topic_size + entry->body_length;

	if (entry->database != MyDatabaseId || !entry->here ||
		plinth_presence_is_over(entry, now))
		return;
	if (copy->states < copy->states_size && copy->text + size <= copy->text_size)
	{
		PresenceState *state = &copy->list[copy->states];
		char *text = copy->buffer + copy->text;

		plinth_presence_get_state(entry, state);
		memcpy(text, entry->topic, topic_size);
		plinth_presence_get_body(entry, text + topic_size);
		state->topic = text;
	}
	copy->states++;
	copy->text += size;
}

static void
write_text(StringInfo out, const char *name, const char *text)
{
	plinth_json_name(out, name);
	if (text != NULL)
		plinth_json_string(out, text, strlen(text));
	else
		appendBinaryStringInfo(out, "null", 4);
}
