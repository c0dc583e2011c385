/**
 * A recorded call between two parties, written with npm's ari-client after its bridge and originate examples: the caller
 * is answered and the far end called; both join a mixing bridge, which is recorded; when one party hangs up, so does the
 * other. There is no database and no finishing: a WAV file remains in Asterisk's recording directory.
 *
 * node ari_client.js URL USER PASSWORD APP ENDPOINT
 *   ENDPOINT is the PJSIP endpoint to call through; the port to call is the first argument of Stasis().
 */
'use strict';

const client = require('ari-client');

const [url, user, password, app, endpoint] = process.argv.slice(2);

function ignoreGone(error) {
  if (!/not found/i.test(error.message)) {
    console.error(error.message);
  }
}

async function connect(ari, incoming, port) {
  const bridge = ari.Bridge();
  const outgoing = ari.Channel();

  // When one party hangs up, end the other channel and the bridge.
  incoming.once('StasisEnd', () => outgoing.hangup().catch(ignoreGone));
  outgoing.once('ChannelDestroyed', () => {
    incoming.hangup().catch(ignoreGone);
    bridge.destroy().catch(ignoreGone);
  });
  outgoing.once('StasisStart', async () => {
    await bridge.create({type: 'mixing'});
    await bridge.addChannel({channel: [incoming.id, outgoing.id]});
    await bridge.record({name: `${app}-${bridge.id}`, format: 'wav', ifExists: 'fail'});
  });

  await incoming.answer();
  await outgoing.originate({
    endpoint: `PJSIP/${endpoint}/sip:desk@127.0.0.1:${port}`,
    app: app,
    appArgs: 'dialed',
  });
}

client.connect(url, user, password).then((ari) => {
  ari.on('StasisStart', (event, channel) => {
    if (event.args[0] !== 'dialed') {
      connect(ari, channel, event.args[0]).catch(ignoreGone);
    }
  });
  return ari.start(app);
}).then(() => console.log('ready')).catch((error) => {
  console.error(error);
  process.exit(1);
});
