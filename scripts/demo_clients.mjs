// The main job, driven by real clients over TCP: two signed-in users, an
// anonymous visitor and a back end through node-postgres, and psql.
// Each step says what the server answered and whether it is as it should be;
// the exit status is 0 only when every step was.

import { createRequire } from 'node:module';
import { execFileSync } from 'node:child_process';

const require = createRequire(new URL('../test/clients/', import.meta.url));
const pg = require('pg');

const results = [];
const open = [];

async function connect(name) {
  // The pool's login of every request; trusted on this private server.
  const client = new pg.Client({ user: 'authenticator', application_name: name });
  await client.connect();
  open.push(client);
  return client;
}

// One request: a transaction as a role, with the caller's token when there is one.
async function request(client, { role, token, rollback = false }, work) {
  await client.query('BEGIN');
  try {
    await client.query(`SET LOCAL ROLE ${role}`);
    if (token) await client.query('SELECT auth.authenticate($1)', [token]);
    const answer = await work(async (text, values) => (await client.query(text, values)).rows);
    client.committing = performance.now();
    await client.query(rollback ? 'ROLLBACK' : 'COMMIT');
    return answer;
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  }
}

async function refusal(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  return { code: 'none', message: 'it was not refused' };
}

async function until(what, seconds, probe) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const answer = await probe();
    if (answer !== undefined) return answer;
    if (Date.now() > end) throw new Error(`${what}: not within ${seconds} s`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function step(title, work) {
  console.log(`\n\x1b[1m-- ${title}\x1b[0m`);
  try {
    const outcome = await work();
    results.push([title, 'ok', outcome]);
    console.log(`   => ${outcome}`);
  } catch (error) {
    results.push([title, 'FAILED', error.message]);
    console.log(`   => FAILED: ${error.message} ${error.code ?? ''} ${error.detail ?? ''}`);
  }
}

function expect(condition, message) {
  if (!condition) throw new Error(message);
}

const show = (value) => console.log(`   ${typeof value === 'string' ? value : JSON.stringify(value)}`);

const alice = { email: 'alice@example.com', password: 'correct horse battery staple' };
const bob = { email: 'bob@example.com', password: 'an unlikely long sentence' };

const visitor = await connect('demo visitor');
const backend = await connect('demo back end');
const anon = { role: 'anon' };
const service = { role: 'service_role' };
const as = (user) => ({ role: 'authenticated', token: user.session.access_token });

await step('sign up, confirm, sign in', async () => {
  for (const user of [alice, bob]) {
    const [{ sign_up: answer }] = await request(visitor, anon, (q) =>
      q('SELECT auth.sign_up($1, $2)', [user.email, user.password]));
    show(answer);
    const [{ link }] = await request(backend, service, (q) =>
      q("SELECT auth.generate_link('confirmation', $1) AS link", [user.email]));
    await request(visitor, anon, (q) => q("SELECT auth.verify_otp('confirmation', $1)", [link.token]));
    const [{ session }] = await request(visitor, anon, (q) =>
      q('SELECT auth.sign_in_with_password($1, $2) AS session', [user.email, user.password]));
    user.session = session;
    user.id = session.user.id;
    show({ token_type: session.token_type, expires_in: session.expires_in, user: session.user.email });
  }
  const early = await refusal(request(visitor, anon, (q) => q('SELECT auth.sign_in_with_password($1, $2)',
    ['carol@example.com', 'there is no such account'])));
  show(`no such account: ${early.code} ${early.message}`);
  const wrong = await refusal(request(visitor, anon, (q) =>
    q('SELECT auth.sign_in_with_password($1, $2)', [alice.email, 'not her password'])));
  show(`wrong password: ${wrong.code} ${wrong.message}`);
  expect(wrong.code === '28000' && wrong.message === early.message, 'the two refusals can be told apart');
  const [{ refreshed }] = await request(visitor, anon, (q) =>
    q('SELECT auth.refresh_session($1) AS refreshed', [alice.session.refresh_token]));
  expect(refreshed.access_token && refreshed.refresh_token !== alice.session.refresh_token, 'no new tokens');
  alice.session = refreshed;
  return `two accounts; wrong password ${wrong.code}; refresh token exchanged`;
});

alice.client = await connect('demo alice');
bob.client = await connect('demo bob');

await step('a profile that the other can read but not change', async () => {
  for (const user of [alice, bob])
    await request(user.client, as(user), (q) => q('SELECT profiles.get_or_create_profile()'));
  await request(alice.client, as(alice), (q) =>
    q('SELECT profiles.update_profile($1)', [{ full_name: 'Alice Example', bio: 'Reads the WAL for fun.' }]));
  await request(bob.client, as(bob), (q) => q('SELECT profiles.update_profile($1)', [{ full_name: 'Bob Example' }]));
  const [seen] = await request(bob.client, as(bob), (q) =>
    q('SELECT username, full_name, bio FROM profiles.profiles WHERE id = $1', [alice.id]));
  show({ 'bob reads': seen });
  expect(seen?.full_name === 'Alice Example', 'bob does not see the profile');
  const changed = await request(bob.client, as(bob), (q) =>
    q("UPDATE profiles.profiles SET bio = 'mine now' WHERE id = $1 RETURNING id", [alice.id]));
  show(`bob's UPDATE changed ${changed.length} rows`);
  expect(changed.length === 0, 'bob changed it');
  const column = await refusal(request(alice.client, as(alice), (q) =>
    q("UPDATE profiles.profiles SET user_type = 'teacher' WHERE id = $1", [alice.id])));
  show(`alice makes herself a teacher: ${column.code} ${column.message}`);
  expect(column.code === '42501', 'a privileged column was open');
  const email = await refusal(request(visitor, anon, (q) => q('SELECT email FROM profiles.private_profiles')));
  show(`a visitor asks for addresses: ${email.code} ${email.message}`);
  expect(email.code === '42501', 'addresses are open to visitors');
  return `bob reads it, his UPDATE hits ${changed.length} rows`;
});

await step('20 XP awards at once, the level-up and the badge', async () => {
  await request(backend, service, (q) =>
    q(`INSERT INTO social.badges (name, description, rarity, category, requirement_type, requirement_value,
         requirement_metric, points)
       VALUES ('Getting Somewhere', 'Reach level 3', 'common', 'milestone', 'level', 3, 'level', 0)`));
  const clients = await Promise.all(Array.from({ length: 20 }, (_, i) => connect(`demo award ${i + 1}`)));
  const answers = (await Promise.all(clients.map((client) => request(client, service, (q) =>
    q("SELECT social.add_xp($1, 50, 'quiz_completion') AS answer", [alice.id]))))).map(([row]) => row.answer);
  await Promise.all(clients.map((client) => client.end()));
  const ups = answers.filter((a) => a.data.level_up).map((a) => a.data.new_level).sort((a, b) => a - b);
  const rewards = answers.flatMap((a) => a.data.rewards.map((r) => r.name));
  const [row] = await request(visitor, anon, (q) =>
    q('SELECT total_xp, current_level FROM social.user_levels WHERE user_id = $1', [alice.id]));
  show({ total_xp: row.total_xp, current_level: row.current_level, level_ups: ups, badges: rewards });
  expect(row.total_xp === '1000', `total is ${row.total_xp}, not 1000`);
  expect(row.current_level === 4, `level is ${row.current_level}, not 4`);
  expect(ups.join() === '2,3,4', `level-ups ${ups}`);
  expect(rewards.join() === 'Getting Somewhere', `badges ${rewards}`);
  await request(backend, service, (q) => q("SELECT social.add_xp($1, 300, 'daily_login')", [bob.id]));
  return `20 x 50 = ${row.total_xp} XP, level ${row.current_level}, badge once`;
});

await step('the leaderboard before and after the worker refreshes it', async () => {
  const board = () => request(visitor, anon, (q) =>
    q('SELECT rank, full_name, total_xp FROM social.get_leaderboard(10)'));
  const stat = () => request(backend, service, (q) =>
    q("SELECT refreshes, duration_ms, rows FROM plinth.stat_leaderboard WHERE schema = 'social'"));
  const rowsOf = (rows) => rows.map((r) => `${r.rank}. ${r.full_name ?? 'no name'} ${r.total_xp}`).join(', ');
  const first = await board();
  show(`before: ${rowsOf(first) || 'nobody'}`);
  await request(backend, service, (q) => q("SELECT social.add_xp($1, 5000, 'course_completion')", [bob.id]));
  const started = Date.now();
  const second = await until('the refresh', 60, async () => {
    const rows = await board();
    return rows[0]?.total_xp === '5300' ? rows : undefined;
  });
  const ms = Date.now() - started;
  show(`after:  ${rowsOf(second)}`);
  const [figures] = await stat();
  show({ stat_leaderboard: figures });
  expect(rowsOf(first) !== rowsOf(second), 'it did not change');
  return `bob leads with 5300 after ${ms} ms, refresh took ${Number(figures.duration_ms).toFixed(1)} ms`;
});

await step('a certificate number', async () => {
  const [certificate] = await request(backend, service, (q) =>
    q(`WITH skill AS (INSERT INTO social.skills (name) VALUES ('Query planning') RETURNING id)
       INSERT INTO social.certifications (user_id, skill_id, level, verification_url)
       SELECT $1, id, 'advanced', '/verify/' FROM skill
       RETURNING certificate_number`, [alice.id]));
  show(certificate);
  expect(/^EVOLV-[0-9A-F]{12}$/.test(certificate.certificate_number), 'not of the form EVOLV-xxxxxxxxxxxx');
  const [{ answer }] = await request(visitor, anon, (q) =>
    q('SELECT social.verify_certificate($1) AS answer', [certificate.certificate_number]));
  show({ 'a visitor verifies it': answer });
  expect(answer.valid === true, 'a visitor cannot verify it');
  return certificate.certificate_number;
});

await step('the sixth call of a 5-a-minute limit, each rolled back', async () => {
  const answers = [];
  for (let call = 1; call <= 6; call++) {
    const [{ allowed }] = await request(alice.client, { ...as(alice), rollback: true }, (q) =>
      q("SELECT plinth.check_rate_limit($1, 'demo', 5, 1) AS allowed", [alice.id]));
    answers.push(allowed);
  }
  show(answers);
  expect(answers.join() === 'true,true,true,true,true,false', `answers ${answers}`);
  return 'five allowed, the sixth refused';
});

await step('the audit trail: who changed what, from where', async () => {
  await request(alice.client, as(alice), (q) =>
    q(`UPDATE profiles.private_profiles SET preferences = '{"theme": "dark"}' WHERE id = $1`, [alice.id]));
  const [entry] = await request(backend, service, (q) =>
    q(`SELECT action, table_schema || '.' || table_name AS relation, user_email, ip_address, application_name,
              changed_columns, old_data, new_data
       FROM audit.history('profiles.private_profiles', $1, 1)`, [alice.id]));
  show(entry);
  expect(entry?.user_email === alice.email, 'the actor is missing');
  expect(entry.ip_address?.startsWith('127.0.0.1'), `address ${entry.ip_address}`);
  expect(entry.new_data.preferences.theme === 'dark', 'the new value is missing');
  const secret = await request(backend, service, (q) =>
    q(`SELECT count(*)::int AS n FROM audit.audit_logs WHERE table_name = 'users'
       AND (coalesce(new_data::text, '') || coalesce(old_data::text, '')) LIKE '%argon2id%'`));
  expect(secret[0].n === 0, 'a password hash stands in the trail');
  const [{ n: seen }] = await request(alice.client, as(alice), (q) => q('SELECT count(*)::int AS n FROM audit.audit_logs'));
  const forged = await refusal(request(alice.client, as(alice), (q) => q('DELETE FROM audit.audit_logs')));
  show(`alice reads ${seen} rows of the trail herself; her DELETE: ${forged.code} ${forged.message}`);
  expect(seen === 0 && forged.code === '42501', 'the trail is open to users');
  return `${entry.action} of ${entry.relation} by ${entry.user_email} from ${entry.ip_address}`;
});

await step('a change reaches who may see it, and nobody else', async () => {
  // A table of the application, as its owner makes it with psql.
  const script = `
    CREATE SCHEMA app;
    CREATE TABLE app.notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      owner_id uuid NOT NULL DEFAULT auth.uid(), body text NOT NULL);
    ALTER TABLE app.notes ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own_notes ON app.notes TO authenticated
      USING (owner_id = (SELECT auth.uid())) WITH CHECK (owner_id = (SELECT auth.uid()));
    GRANT USAGE ON SCHEMA app TO authenticated;
    GRANT SELECT, INSERT ON app.notes TO authenticated;
    ALTER PUBLICATION plinth_realtime ADD TABLE app.notes;`;
  execFileSync(process.env.PSQL, ['-X', '-q', '-v', 'ON_ERROR_STOP=1', '-U', 'postgres', '-c', script]);
  for (const user of [alice, bob]) {
    [user.subscription] = await request(user.client, as(user), (q) =>
      q("SELECT * FROM realtime.subscribe('notes', 'app', 'notes', 'INSERT')"));
    user.heard = [];
    user.client.on('notification', (message) =>
      user.heard.push({ at: performance.now(), payload: JSON.parse(message.payload) }));
    await user.client.query(`LISTEN "${user.subscription.listen_channel}"`);
  }
  const writer = await connect('demo writer');
  const write = async (user, body) => {
    await request(writer, as(user), (q) => q('INSERT INTO app.notes (body) VALUES ($1)', [body]));
    return writer.committing;
  };
  const delays = [];
  for (let n = 1; n <= 20; n++) {
    const committed = await write(alice, `note ${n}`);
    const message = await until('the notification', 10, async () => alice.heard[n - 1]);
    delays.push(message.at - committed);
  }
  show({ 'alice heard': alice.heard[0].payload });
  // Bob's own note comes after all of hers in commit order: what he hears first is his.
  await write(bob, 'from bob');
  const first = await until("bob's notification", 10, async () => bob.heard[0]);
  show({ 'the first that bob hears': first.payload.new });
  expect(bob.heard.length === 1 && first.payload.new.body === 'from bob', 'bob heard what is not his');
  const polled = await request(alice.client, as(alice), (q) =>
    q('SELECT seq, event, payload FROM realtime.poll($1, $2, $3)',
      [alice.subscription.subscription_id, alice.subscription.session_key, alice.subscription.after_seq]));
  show(`alice polls: ${polled.length} messages, seq ${polled[0]?.seq} to ${polled.at(-1)?.seq}`);
  expect(polled.length === 20, `poll gave ${polled.length} of 20`);
  const [stream] = await request(backend, service, (q) =>
    q('SELECT lag_bytes, changes, deliveries, gaps, errors FROM plinth.stat_stream WHERE database = current_database()'));
  show({ stat_stream: stream });
  delays.sort((a, b) => a - b);
  const median = (delays[9] + delays[10]) / 2;
  return `20 changes to alice, ${median.toFixed(1)} ms after COMMIT was sent (median; most ${delays.at(-1).toFixed(1)}), none to bob`;
});

await Promise.all(open.map((client) => client.end().catch(() => {})));

console.log('\n\x1b[1m== Summary\x1b[0m');
const width = Math.max(...results.map(([title]) => title.length));
for (const [title, state, outcome] of results)
  console.log(`${state.padEnd(6)}  ${title.padEnd(width)}  ${outcome}`);
process.exit(results.every(([, state]) => state === 'ok') ? 0 : 1);
